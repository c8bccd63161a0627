"""FaceX's pieces: what is read off a face, who gives what to which picture, and a controller that begins as nothing."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from conftest import made_up
from facex_fixtures import SPACE, made_up_face, tiny_sizes
from personae.conditioning.facex import representation
from personae.conditioning.facex.assembly import Assembly, FaceRef, assemble, region_image, structure
from personae.conditioning.facex.controller import Controller, transformer_blocks, widths_of
from personae.conditioning.facex.network import SIZES, FaceX, require_fit
from personae.conditioning.facex.packed import packed, unpacked
from personae.conditioning.facex.representation import GRID, MEASURES, REGIONS, TOKENS, FaceMeasures
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import render
from personae.conditioning.retarget import retarget
from personae.errors import BadData, BadOption, WeightsCorrupt, WeightsMissing
from personae.pipeline import FacePipeline
from personae.reading.aligned import resized
from personae.types import BLENDSHAPES, Pose
from tolerances import assert_same

MODEL = FaceModel.bundled()


ANN, BOB = FaceRef("ann"), FaceRef("bob")


def of_two(face, other, **changes) -> Assembly:
    """An assembly of Ann's identity and Bob's pose."""
    parts = {"sources": {"identity": ANN, "pose": BOB}, "faces": {ANN: face, BOB: other}}
    return Assembly(**{**parts, "reference": face.crop, "edit_mask": np.ones((128, 128), bool), **changes})


def of_one(face, *tokens: str) -> Assembly:
    """An assembly of some tokens, all of one face."""
    return of_two(face, face, sources=dict.fromkeys(tokens, ANN), faces={ANN: face})


# ---------------------------------------------------------------------- FORD


def test_the_light_of_a_lit_mesh_is_found() -> None:
    """A face painted by known light from the side and from above."""
    face = made_up_face()
    marks = resized(face.landmarks, 128, GRID)
    shares = np.zeros((len(REGIONS), GRID, GRID), np.float32)
    shares[0] = 1
    normals = render(marks, MODEL.triangles, GRID).astype(np.float32) / 127.5 - 1
    basis = representation.harmonics(normals.reshape(-1, 3)).reshape(GRID, GRID, -1)
    painted = np.repeat((0.4 + 0.15 * basis[..., 1] + 0.1 * basis[..., 2])[..., None], 3, -1)
    found = representation.light(painted, shares, marks, MODEL).reshape(3, -1)
    made = basis @ found.T
    lit = normals[..., 2] > 0
    assert np.abs(made - painted)[lit].mean() < 0.03
    assert (found[:, 1] > 0.1).all()  # from the side
    assert (found[:, 2] > 0.02).all()  # from above: half of that is told by what a face's forward normals share
    assert found[:, 1] == pytest.approx(found[0, 1])


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    points = np.random.default_rng(0).normal(size=(200_000, 3))
    basis = representation.harmonics(points / np.linalg.norm(points, axis=1, keepdims=True))
    np.testing.assert_allclose(basis.T @ basis / len(basis), np.eye(9), atol=0.02)


def test_texture_is_the_colour_of_regions() -> None:
    shares = np.zeros((len(REGIONS), GRID, GRID), np.float32)
    small = np.zeros((GRID, GRID, 3), np.float32)
    for index, name in enumerate(("skin", "brows", "mouth", "hair")):
        rows = slice(index * 8, index * 8 + 8)
        shares[REGIONS.index(name), rows] = 1
        small[rows] = (0.1 * index, 0.2, 0.3)
    found = representation.texture(small, shares)
    np.testing.assert_allclose(found[:12].reshape(4, 3), [(0.1 * i, 0.2, 0.3) for i in range(4)], atol=1e-3)
    np.testing.assert_allclose(found[12:], 0, atol=1e-2)


@pytest.mark.parametrize("count", [1, 3])
def test_measured_shapes(count: int) -> None:
    rows = FaceMeasures.stack([representation.measure(made_up_face(seed), MODEL) for seed in range(count)])
    assert rows.crops.shape == (count, 128, 128, 3)
    assert rows.regions.shape == (count, len(REGIONS), GRID, GRID)
    for name, width in MEASURES.items():
        assert getattr(rows, name).shape == (count, width)
        assert getattr(rows, name).dtype == np.float32


# ---------------------------------------------------------------------- FORS


def test_who_gives_what() -> None:
    ann, bob = made_up_face(0), made_up_face(1, yaw=20)
    second = of_two(ann, bob, sources={"identity": BOB, "pose": BOB})
    found = assemble([of_two(ann, bob), second], MODEL)
    assert len(found.faces.crops) == 2  # each face once
    index = dict(zip(TOKENS, found.face_index.T.tolist(), strict=True))
    assert index["identity"] == [0, 1]
    assert index["pose"] == [1, 1]
    assert index["hair"] == [-1, -1]
    assert found.reference.shape == (2, 7, 128, 128)
    np.testing.assert_array_equal(found.reference[0, 4:], found.reference[1, 4:])  # the same mesh moves both


def test_the_region_image_is_the_picture_the_mask_and_the_mesh() -> None:
    face = made_up_face()
    free = np.zeros((128, 128), bool)
    free[32:64] = True
    mesh = structure(of_one(face, "pose"), MODEL)
    image = region_image(face.crop, free, mesh)
    np.testing.assert_allclose(image[:3], face.crop.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(image[3], free)
    np.testing.assert_allclose(image[4:], mesh.transpose(2, 0, 1) / 255, atol=1e-6)
    assert structure(of_one(face, "identity"), MODEL) is None
    assert not region_image(face.crop, free, None)[4:].any()


def test_an_expression_of_another_moves_the_mesh() -> None:
    face, other = made_up_face(0), made_up_face(1)
    own = structure(of_one(face, "pose", "expression"), MODEL)
    both = of_two(face, other, sources={"pose": ANN, "expression": BOB})
    assert (structure(both, MODEL) != own).any()


def test_asking_for_nothing_new_moves_nothing() -> None:
    face = made_up_face(2, yaw=15)
    np.testing.assert_allclose(retarget(face, MODEL).landmarks, face.landmarks, atol=1e-4)
    turned = retarget(face, MODEL, pose=Pose(yaw=-15, pitch=0, roll=0))
    assert turned.pose.yaw == -15
    nose = 4
    assert turned.landmarks[nose, 0] < face.landmarks[nose, 0] - 5  # to its right: to the left of the picture
    assert turned.crop is face.crop


def test_a_mouth_that_opens_moves_no_eyes() -> None:
    face = made_up_face(2)
    making = face.blendshapes.copy()
    making[BLENDSHAPES.index("jawOpen")] = 0.9
    opened = retarget(face, MODEL, blendshapes=making)
    change = opened.landmarks - face.landmarks
    irises, chin, lower_lip = (468, 473), 152, 17
    assert np.abs(change[list(irises)]).max() < 1
    assert change[chin, 1] > 8
    assert change[lower_lip, 1] > 8


@pytest.mark.parametrize(
    ("name", "moves", "stays"),
    [
        ("jawOpen", (152, 17), (468, 107, 9)),
        ("eyeBlinkLeft", (468, 386), (17, 152, 10)),
        ("browInnerUp", (107,), (17, 5)),
    ],
)
def test_what_a_change_stirs(name: str, moves: tuple[int, ...], stays: tuple[int, ...]) -> None:
    change = np.zeros(len(BLENDSHAPES))
    assert not MODEL.moving_landmarks(change).any()
    change[BLENDSHAPES.index(name)] = -0.4
    found = MODEL.moving_landmarks(change)
    assert found[list(moves)].all()
    assert not found[list(stays)].any()


def test_every_blendshape_stirs_something() -> None:
    for index in range(1, len(BLENDSHAPES)):  # all but `_neutral`
        assert MODEL.moving_landmarks(np.eye(len(BLENDSHAPES))[index]).any(), BLENDSHAPES[index]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"sources": {"haire": ANN}}, BadOption, "haire.*hair"),
        ({"sources": {"hair": FaceRef("cem")}}, BadData, "hair comes from .*cem.* no such face"),
        ({"edit_mask": np.ones((64, 64), bool)}, BadData, "mask"),
        ({"reference": np.zeros((64, 64, 3), np.uint8)}, BadData, "region image"),
    ],
)
def test_a_bad_assembly_is_one_clear_error(changes: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        of_two(made_up_face(), made_up_face(1), **changes)


def test_an_assembly_of_nothing_is_an_error() -> None:
    with pytest.raises(BadData, match="without sources says nothing"):
        assemble([of_one(made_up_face())], MODEL)


def test_equal_faces_need_not_be_one_object() -> None:
    """Copies of the parts make the same picture: only keys say who is who."""
    whole = of_two(made_up_face(0), made_up_face(1), sources={"identity": ANN, "pose": BOB, "expression": BOB})
    parts = {field.name: getattr(whole, field.name) for field in fields(whole)}
    faces = {pickle.loads(pickle.dumps(ref)): pickle.loads(pickle.dumps(face)) for ref, face in whole.faces.items()}
    apart = Assembly(**(parts | {"sources": pickle.loads(pickle.dumps(whole.sources)), "faces": faces}))
    one, two = (assemble([each, whole], MODEL) for each in (whole, apart))
    np.testing.assert_array_equal(one.face_index, two.face_index)
    np.testing.assert_array_equal(one.reference, two.reference)
    assert len(two.faces.crops) == 2
    np.testing.assert_array_equal(one.faces.crops, two.faces.crops)


def test_one_key_cannot_name_two_faces() -> None:
    with pytest.raises(BadData, match=r"different faces .*ann.*a key of its own"):
        assemble([of_one(made_up_face(0), "skin"), of_one(made_up_face(1), "skin")], MODEL)


# ---------------------------------------------------------------------- FRC


def fresh(pipe: FacePipeline, *, zero: bool = True) -> Controller:
    torch.manual_seed(0)
    controller = Controller.for_unet(pipe.unet, token_width=24, inner=32)
    if not zero:
        for block in controller.attentions():
            nn.init.normal_(block.to_out.weight)
    return controller.to(pipe.unet.dtype).eval()


def call(pipe: FacePipeline, count: int = 2) -> torch.Tensor:
    told = pipe.condition(made_up(pipe, count))[0]
    labels = told.pooled if pipe.unet.config.class_embed_type is not None else None
    side, channels = pipe.unet.config.sample_size, pipe.unet.config.in_channels
    x = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return pipe.unet(x, torch.tensor(3.0), encoder_hidden_states=told.tokens, class_labels=labels).sample


def test_a_fresh_controller_changes_nothing_bit_for_bit(pipe: FacePipeline) -> None:
    controller, plain = fresh(pipe), call(pipe)
    with controller.engaged(pipe.unet):
        controller.set_tokens(torch.randn(2, 5, 24))
        assert torch.equal(call(pipe), plain)


def test_it_follows_the_frozen_attention_and_leaves_no_trace(pipe: FacePipeline) -> None:
    controller, plain = fresh(pipe, zero=False), call(pipe)
    told = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(1))
    with controller.engaged(pipe.unet):
        controller.set_tokens(told)
        changed = call(pipe)
        assert not torch.allclose(changed, plain)
        controller.set_tokens(None)
        assert torch.equal(call(pipe), plain)
        # Only the second row is told.
        controller.set_tokens(told[1:], torch.tensor([False, True]))
        half = call(pipe)
        torch.testing.assert_close(half[0], plain[0])
        torch.testing.assert_close(half[1], changed[1])
    assert torch.equal(call(pipe), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipe.unet.modules())


def test_what_is_added_is_the_formula(pipe: FacePipeline) -> None:
    """x + frozen(x) + proj(attention(norm(x + frozen(x)), f)), on one block, by hand."""
    controller = fresh(pipe, zero=False)
    block, following = transformer_blocks(pipe.unet)[0], controller.attentions()[0]
    width, cross = widths_of(pipe.unet)[0], pipe.unet.config.cross_attention_dim
    x, words, told = torch.randn(1, 4, width), torch.randn(1, 3, cross), torch.randn(1, 5, 24)
    with torch.no_grad():
        frozen = block.attn2(block.norm2(x), encoder_hidden_states=words)
        with controller.engaged(pipe.unet):
            controller.set_tokens(told)
            added = block.attn2(block.norm2(x), encoder_hidden_states=words) - frozen
        q = following.to_q(following.norm(x + frozen)).unflatten(-1, (-1, 32)).transpose(1, 2)
        k, v = (part.unflatten(-1, (-1, 32)).transpose(1, 2) for part in following.to_kv(told).chunk(2, -1))
        weights = (q @ k.transpose(-1, -2) / 32**0.5).softmax(-1)
        wanted = following.to_out((weights @ v).transpose(1, 2).flatten(2))
    assert_same(added, wanted)


def test_another_unet_is_refused(nano_like: FacePipeline) -> None:
    wrong = Controller([8, 8], token_width=24, inner=32)
    with pytest.raises(WeightsCorrupt, match="8, 8"), wrong.engaged(nano_like.unet):
        pass


# ---------------------------------------------------------------------- on disk


def test_saved_and_loaded_it_tells_the_same(tmp_path: Path) -> None:
    facex = FaceX(tiny_sizes("none"), [32, 64], SPACE).eval()
    facex.save(tmp_path)
    loaded = FaceX.load(tmp_path)
    assert loaded.sizes == facex.sizes
    assert loaded.space == SPACE
    maps = torch.randn(2, 49, 128, generator=torch.Generator().manual_seed(0))
    found = assemble([of_two(made_up_face(0), made_up_face(1))], MODEL)
    with torch.no_grad():
        ours, theirs = facex.encode(found, maps), loaded.encode(found, maps)
    assert float((ours - theirs).abs().mean() / ours.abs().mean()) < 0.02  # 8 bits


def test_a_backbone_of_transformers_fits_in() -> None:
    settings = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "image_size": 56, "patch_size": 14}
    facex = FaceX(replace(tiny_sizes("none"), backbone=settings), [32], SPACE).eval()
    face = made_up_face(side=126)  # a multiple of the patch
    with torch.no_grad():
        tokens = facex.decomposer.regions(
            torch.from_numpy(face.crop).permute(2, 0, 1)[None].float(), torch.rand(1, len(REGIONS), GRID, GRID)
        )
    assert tokens.shape == (1, len(REGIONS), 32)
    assert isinstance(SIZES["facex-sd15"].backbone, dict)


def test_eight_bits_keep_what_they_can() -> None:
    weights = {"a": torch.randn(8, 4, 3, 3), "b": torch.randn(5), "c": torch.zeros(2, 2)}
    stored = packed(weights)
    assert stored["a"].dtype == torch.int8
    assert stored["b"].dtype == torch.float16
    again = unpacked(stored)
    assert set(again) == set(weights)
    step = weights["a"].flatten(1).abs().amax(1) / 127
    assert ((again["a"] - weights["a"]).flatten(1).abs().amax(1) <= step / 2 + 1e-6).all()
    assert not again["c"].any()


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), WeightsMissing, "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), WeightsCorrupt, "cannot|can be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), WeightsCorrupt, "can be read"),
        (
            lambda folder: save_file(
                {k: v for k, v in load_file(folder / "model.safetensors").items() if k != "kinds"},
                folder / "model.safetensors",
            ),
            WeightsCorrupt,
            "kinds|can be read",
        ),
    ],
)
def test_damaged_files_are_one_clear_error(tmp_path: Path, damage, error: type[Exception], says: str) -> None:
    FaceX(tiny_sizes("none"), [32], SPACE).save(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=says):
        FaceX.load(tmp_path)


def test_it_belongs_to_its_model(nano_like: FacePipeline) -> None:
    facex = FaceX(tiny_sizes("none"), widths_of(nano_like.unet), SPACE)
    require_fit(facex, space=SPACE, unet=nano_like.unet, where="here")
    with pytest.raises(WeightsCorrupt, match="identities"):
        require_fit(facex, space="other", unet=nano_like.unet, where="here")
    with pytest.raises(WeightsCorrupt, match="blocks"):
        require_fit(FaceX(tiny_sizes("none"), [8], SPACE), space=SPACE, unet=nano_like.unet, where="here")
