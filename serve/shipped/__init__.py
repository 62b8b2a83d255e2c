"""The certificate's chapter about what is shipped: a GGUF file, a folder, or a running server."""
