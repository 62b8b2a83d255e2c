"""Chat models: what there is, conversations and how a model reads them, adapters and what a server
accepts of them."""
