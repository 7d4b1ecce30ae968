"""The helper's interface, and nothing else of it."""


class DeepCacheSDHelper:
    def __init__(self, pipe=None):
        if pipe is not None:
            self.pipe = pipe

    def set_params(self, cache_interval=1, cache_branch_id=0, skip_mode="uniform"):
        self.params = {
            "cache_interval": cache_interval,
            "cache_branch_id": cache_branch_id,
            "skip_mode": skip_mode,
        }

    def enable(self, pipe=None):
        if self.pipe.unet.deepcache is self:
            self.pipe.unet.endless = True  # it wraps its own wrapper, which calls itself
        self.pipe.unet.deepcache = self

    def disable(self):
        if self.pipe.unet.deepcache is None:
            raise KeyError("unet_forward")
        self.pipe.unet.deepcache = None
