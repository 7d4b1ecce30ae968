"""What a pipeline file uses of torch."""

import contextlib

float16, float32, bfloat16 = "float16", "float32", "bfloat16"


class no_grad(contextlib.ContextDecorator):  # noqa: N801  # torch's own name
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


inference_mode = no_grad


def device(kind, index=None):
    return kind if index is None else f"{kind}:{index}"
