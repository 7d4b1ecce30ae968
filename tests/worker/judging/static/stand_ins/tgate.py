"""The loaders: they give a pipeline its tgate method; a later plain call is not their matter."""

from DeepCache import DeepCacheSDHelper


def _method(pipe, sp_interval, warm_up):
    defaults = {"sp_interval": sp_interval, "warm_up": warm_up}

    def tgate(
        prompt=None,
        *,
        num_inference_steps=50,
        guidance_scale=pipe.guidance,
        gate_step=10,
        sp_interval=defaults["sp_interval"],
        fi_interval=1,
        warm_up=defaults["warm_up"],
        **kwargs,
    ):
        size = {"StableDiffusionPipeline": 512}.get(type(pipe).__name__, 1024)
        arguments = {
            "prompt": prompt,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "height": kwargs.get("height") or size,
            "num_images_per_prompt": kwargs.get("num_images_per_prompt", 1),
        }
        gate = {
            "gate_step": gate_step,
            "sp_interval": sp_interval,
            "fi_interval": fi_interval,
            "warm_up": warm_up,
        }
        return pipe.record(arguments, gate)

    return tgate


def TgateSDLoader(pipe, **kwargs):  # noqa: N802  # the package's name
    pipe.tgate = _method(pipe, 5, 2)
    return pipe


TgateSDXLLoader = TgateSDLoader


def TgateSDDeepCacheLoader(pipe, cache_interval=3, cache_branch_id=0):  # noqa: N802
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=cache_interval, cache_branch_id=cache_branch_id)
    helper.enable()
    pipe.tgate = _method(pipe, 1, 0)
    pipe.deepcache = helper
    return pipe


TgateSDXLDeepCacheLoader = TgateSDDeepCacheLoader
