"""What a pipeline file uses of torch."""

import contextlib

# The autocast contexts that are open.
AUTOCAST = []
float16, float32, bfloat16 = "float16", "float32", "bfloat16"


class no_grad(contextlib.ContextDecorator):  # noqa: N801  # torch's own name
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


inference_mode = no_grad


def device(kind, index=None):
    return kind if index is None else f"{kind}:{index}"


@contextlib.contextmanager
def autocast(device_type, dtype=None, enabled=True):
    if not enabled:
        yield
        return
    AUTOCAST.append([device_type, dtype])
    try:
        yield
    finally:
        AUTOCAST.pop()
