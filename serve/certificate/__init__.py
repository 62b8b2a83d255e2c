"""The certificate's making: what is measured in transformers and in vLLM, and what the figures
say."""
