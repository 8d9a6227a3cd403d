"""Which device answers, and the same image on another: python pick_device.py IMAGE [BUNDLE]."""

import sys

from sacvit_deploy import BackendError, SACViT

image, *bundle = sys.argv[1:]

with SACViT(*bundle) as model:  # the best that this machine has
    print(f"chosen: {model.precision} on {model.backend.description}")
    print(model.predict(image))

for device in ("cpu", "cuda:0", "webgpu"):  # `sacvit doctor` lists them all, and says why one does not run
    try:
        with SACViT(*bundle, device=device, precision="fp32") as model:
            print(f"{device}: {model.backend.description}: {model.predict(image).label}")
    except BackendError as error:
        print(f"{device}: {error}")
