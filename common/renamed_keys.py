"""Keys of earlier versions, and what they are called now."""

RENAMED = {
    "local.optimizer": "optimizer.name",
    "local.lr": "optimizer.learning-rate",
    "local.lr-scaling": "optimizer.learning-rate-scaling",
    **{
        f"local.{key}": f"optimizer.{key}"
        for key in (
            "reference-batch-size", "momentum", "nesterov", "weight-decay", "weight-decay-exclude", "beta1",
            "beta2", "epsilon", "bias-correction", "trust-coefficient", "clip-norm", "clip-decay",
        )
    },
    "local.loss": "loss.name",
    "local.focal-gamma": "loss.gamma",
    "local.ldam-margin": "loss.margin",
    "local.ldam-scale": "loss.scale",
    "local.scheduler": "schedule.name",
    "local.scheduler-step-rounds": "schedule.step-rounds",
    "local.scheduler-gamma": "schedule.gamma",
    "local.scheduler-power": "schedule.power",
    "local.milestones": "schedule.milestones",
    "local.phase-gamma": "schedule.phase-gamma",
    "local.warmup-rounds": "schedule.warmup-rounds",
    "local.warmup-epochs": "schedule.warmup-epochs",
    "local.warmup-steps": "schedule.warmup-steps",
    "local.warmup-lr": "schedule.warmup-learning-rate",
    "topology.path": "topology.file",
    "dataset.augmentation": "augmentation.name",
    "dataset.crop-padding": "augmentation.padding",
    "dataset.cutout": "augmentation.cutout",
    "method.global-head-lr-scale": "method.global-head-learning-rate-scale",
    "method.local-head-lr-scale": "method.local-head-learning-rate-scale",
}  # fmt: skip
