"""Muon: what its step is and which parameters it takes."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from personae.training.optimizer import Muon, _levelled, _levelled_by_square, grouped, orthogonalised


@pytest.mark.parametrize("shape", [(2, 64, 96), (3, 64, 200), (1, 200, 64)])
def test_orthogonalised_keeps_directions_and_levels_sizes(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    levelled = orthogonalised(matrices).float()
    sizes = torch.linalg.svdvals(levelled)
    assert levelled.shape == matrices.shape
    assert sizes.min() > 0.5
    assert sizes.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    nearest = left @ right
    cosine = torch.nn.functional.cosine_similarity(levelled.flatten(1), nearest.flatten(1))
    assert cosine.min() > 0.95


def test_iterating_on_the_square_changes_nothing() -> None:
    """Not even in the directions of a matrix that is nearly of lower rank, as a momentum is."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(2, 96, 8, generator=generator) @ torch.randn(2, 8, 640, generator=generator)
    matrices = low + 1e-3 * torch.randn(low.shape, generator=generator)
    matrices = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    plain, by_square = _levelled(matrices, 5), _levelled_by_square(matrices, 5)
    assert (plain - by_square).norm() < 1e-3 * plain.norm()


def network() -> nn.Module:
    return nn.Sequential(nn.Embedding(100, 64), nn.Conv1d(64, 96, 3), nn.Conv1d(96, 64, 1), nn.Conv1d(64, 8, 1))


def test_grouped_takes_hidden_matrices_only() -> None:
    model = network()
    hidden, other, plain = grouped(model, hidden=True)
    assert {id(p) for p in hidden["params"]} == {id(model[1].weight), id(model[2].weight)}
    assert {id(p) for p in other["params"]} == {id(model[0].weight), id(model[3].weight)}  # embedding; narrow output
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 3
    assert [len(group["params"]) for group in grouped(model, hidden=False)] == [4, 3]


def test_a_text_encoder_is_stepped_by_adamw() -> None:
    config = CLIPTextConfig(vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=1)
    model = nn.ModuleDict({"text_encoder": CLIPTextModel(config), "unet": nn.Linear(64, 64)})
    hidden, *_ = grouped(model, hidden=True)
    assert [id(p) for p in hidden["params"]] == [id(model["unet"].weight)]


def test_frozen_parameters_stay_out() -> None:
    model = network().requires_grad_(False)
    model[1].weight.requires_grad_(True)
    assert [len(group["params"]) for group in grouped(model, hidden=True)] == [1]


def test_first_step_has_the_promised_size() -> None:
    layer = nn.Linear(64, 256, bias=False)
    before = layer.weight.detach().clone()
    optimizer = Muon(grouped(layer, hidden=True), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
    layer(torch.randn(128, 64, generator=torch.Generator().manual_seed(0))).pow(2).mean().backward()
    optimizer.step()
    # sqrt(64) singular values of 1 over 64 * 256 entries, times 0.2 * sqrt(256): AdamW's usual 0.2.
    size = float((layer.weight.detach() - before).pow(2).mean().sqrt())
    assert size == pytest.approx(0.2 * 1e-2, rel=0.2)


def test_without_hidden_it_is_adamw() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(64, 64), nn.Linear(64, 64)
    theirs.load_state_dict(ours.state_dict())
    optimizers = (
        Muon(grouped(ours, hidden=False), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0),
        torch.optim.AdamW(theirs.parameters(), 1e-3, (0.9, 0.99), weight_decay=0.0),
    )
    batch = torch.randn(8, 64)
    for _ in range(3):
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            layer(batch).pow(2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_what_was_saved_is_loaded_and_goes_on() -> None:
    """Hidden matrices keep a momentum alone; torch's AdamW looks for a count of steps in every state."""
    torch.manual_seed(0)
    given = torch.randn(4, 80)

    def stepped(network: nn.Module, optimizer: Muon) -> list[torch.Tensor]:
        optimizer.zero_grad()
        network(given).square().sum().backward()
        optimizer.step()
        return [weight.detach().clone() for weight in network.parameters()]

    def fresh() -> tuple[nn.Module, Muon]:
        network = nn.Sequential(nn.Linear(80, 80), nn.Linear(80, 3))
        return network, Muon(grouped(network, hidden=True), 1e-3, (0.9, 0.99), 0.0)

    network, optimizer = fresh()
    stepped(network, optimizer)
    again, other = fresh()
    again.load_state_dict(network.state_dict())
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    for one, two in zip(stepped(network, optimizer), stepped(again, other), strict=True):
        assert torch.equal(one, two)
