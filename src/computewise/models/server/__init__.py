"""Models behind OpenAI-compatible servers: what each can do is probed, and used."""
