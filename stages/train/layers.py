"""A network's layers in their order: which of them are frozen, and how deep each one lies."""

from collections.abc import Iterator, Sequence

from torch import nn

from stages.common.errors import FacetError
from stages.common.networks import ClassHeads


def find_depths(network: nn.Module) -> dict[str, int]:
    """Depth of each parameter by name, 0 for the layer next to the input.

    A layer is a child of the network, or of one of its sequences: a block of a ResNet, a stage of
    an EfficientNet, a block of a ViT. A norm that stands alone counts to the layer before it, and
    so do tensors without a layer, such as a ViT's positions, to the first.
    """
    depths: dict[str, int] = {}
    depth = -1
    for name, layer in list_layers(network):
        is_norm = all(parameter.ndim <= 1 for parameter in layer.parameters())
        depth += not is_norm or depth < 0
        depths |= {f"{name}.{key}": depth for key, _ in layer.named_parameters()}
    return {name: depths.get(name, 0) for name, _ in network.named_parameters()}


def list_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of the layers that have parameters, in the order of their definition."""
    if isinstance(network, ClassHeads):
        yield from ((f"body.{name}", layer) for name, layer in list_layers(network.body))
        yield "head", network.head
        return
    for name, child in _list_children(network):
        parts = list(_list_children(child))
        # A subclass of Sequential is a layer of its own, as torchvision's convolution with a norm.
        if type(child) in (nn.Sequential, nn.ModuleList) and len(parts) > 1:
            yield from ((f"{name}.{key}", part) for key, part in parts)
        else:
            yield name, child


def _list_children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if any(True for _ in child.parameters()):
            yield name, child


def freeze_layers(network: nn.Module, names: Sequence[str]) -> None:
    """Let the parts of these names learn no more; call before build_optimizer.

    Args:
        network: The bare network.
        names: Names of modules or parameters, or beginnings of them up to a dot.

    Raises:
        FacetError: a name that nothing has (lists the names there are), or nothing left to learn.
    """
    for name in names:
        found = [p for key, p in network.named_parameters() if _is_part(key, name)]
        if not found:
            layers = ", ".join(key for key, _ in list_layers(network))
            raise FacetError(
                f"train.freeze: expected names of parts of the network, such as {layers}; got "
                f"'{name}'"
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if names and not any(parameter.requires_grad for parameter in network.parameters()):
        raise FacetError(
            f"train.freeze: expected a part that learns; {', '.join(names)} freezes all of them"
        )


def set_training(network: nn.Module, names: Sequence[str]) -> None:
    """Training mode but for frozen parts: their norms keep their statistics, dropout is off.

    Args:
        network: The bare network, after .train() of whatever wraps it.
        names: As for freeze_layers.
    """
    network.train()
    for key, module in network.named_modules():
        if any(_is_part(key, name) for name in names):
            module.train(False)


def _is_part(key: str, name: str) -> bool:
    return f"{key}.".startswith(f"{name}.")
