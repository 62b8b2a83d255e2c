"""A GGUF file in a smaller type by llama.cpp itself: `PYTHON -I llama_quantize_script.py SOURCE OUT
TYPE`.

It runs in an interpreter that has llama-cpp-python and not Luthier, so it imports nothing of
Luthier's.
"""

import sys


def main(source: str, out: str, kind: str) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    status = llama_cpp.llama_model_quantize(source.encode(), out.encode(), parameters)
    if status:
        sys.exit(f"llama.cpp's quantising ended with {status}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
