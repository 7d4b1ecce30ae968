"""A module that the reader does not know: what it does to a pipeline shows only when it runs."""


def accelerate(pipe):
    pipe.note("accelerated elsewhere")


def hooked(pipe):
    pipe.note("hooked elsewhere")
    return pipe


class Base:
    def __init__(self, pipe):
        pipe.note("given to a base")

    def __enter__(self):
        self.pipe.note("entered")
        return self

    def __exit__(self, *error):
        return None

    def __call__(self):
        self.pipe.note("called")

    def __add__(self, other):
        self.pipe.note("added")

    def __getattr__(self, name):
        if name == "pipe":
            raise AttributeError(name)
        self.pipe.note(f"asked for {name}")
        return lambda: self.pipe.note(name)
