"""The embedded generators in the forms other engines read: a Hugging Face directory and a GGUF file."""
