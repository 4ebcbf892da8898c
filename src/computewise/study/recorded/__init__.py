"""Reading recorded samples of real models, and what each rule would have made of them."""
