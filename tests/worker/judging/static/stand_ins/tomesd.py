"""The two functions, which only note that they were called."""


def apply_patch(
    model,
    ratio=0.5,
    max_downsample=1,
    sx=2,
    sy=2,
    use_rand=True,
    merge_attn=True,
    merge_crossattn=False,
    merge_mlp=False,
):
    values = {name: value for name, value in locals().items() if name != "model"}
    getattr(model, "unet", model).tome = values
    return model


def remove_patch(model):
    getattr(model, "unet", model).tome = None
    return model
