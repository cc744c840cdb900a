"""Train one of the zoo's networks with timm's own loader, optimiser and schedule.

    python timm_train.py photos/train

The folder has a folder of images for each class.
"""

import sys
from argparse import Namespace
from pathlib import Path

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_model_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler

import zoo.timm  # noqa: F401  registers every name of the catalog

folder = Path(sys.argv[1])
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
classes = sum(path.is_dir() for path in folder.iterdir())
model = timm.create_model("has8_resnet_b8_m2_d4_ste_bpd", pretrained=True, num_classes=classes).to(device).train()
images = create_dataset("", root=folder, is_training=True)
settings = resolve_model_data_config(model)
loader = create_loader(images, batch_size=4, is_training=True, num_workers=0, device=device, **settings)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
schedule = Namespace(sched="cosine", epochs=1, warmup_epochs=0, sched_on_updates=True)
scheduler, epochs = create_scheduler(schedule, optimizer, updates_per_epoch=len(loader))
for epoch in range(epochs):
    for step, (x, labels) in enumerate(loader):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step_update(epoch * len(loader) + step + 1)
        print(f"epoch {epoch}, step {step}: loss {loss.item():.3f}")
