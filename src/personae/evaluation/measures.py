"""Every figure that a report may hold: what it says, in words, and the bar that it must clear.

One table per kind of report; the text report, the rich table and the documents are all drawn from it.
"""

from collections.abc import Mapping

from personae.errors import BadData, unknown_name
from personae.evaluation.measure import Measure
from personae.evaluation.speed_measures import (
    COMPARE_AMX,
    COMPARE_AVX512,
    COMPARE_FLOAT32,
    COMPARE_GPU,
    MODES,
    SPEED,
    STARTUP,
)

GENERATION = {
    "distance": Measure(
        says="mean distance to the person's photo of the images in which a face was found, by dlib's ResNet",
        at_least=False,
    ),
    "distance_ceiling": Measure(says="distance of the photo itself, cut to the model's crop", at_least=False),
    "distance_rank1": Measure(says="images nearest to their own person's photo among all, by dlib's ResNet", unit="%"),
    "distance_within": Measure(says="images within 0.6 of it, where dlib sees one person", unit="%"),
    "likeness": Measure(says="mean cosine to the person's photo, 0 where no face was found", bars=(0.45, 0.55)),
    "likeness_found": Measure(says="the same over images with a face"),
    "likeness_ceiling": Measure(says="likeness of the real photo itself, cut to the model's crop"),
    "missing": Measure(says="images in which the judge's finder found no face", unit="%", at_least=False),
    "rank1": Measure(says="images that are most like their own person among all", bars=(0.75, 0.90), unit="%"),
    "rank1_person": Measure(says="people whose images' mean is most like their own photo among all", unit="%"),
    "strangers_real": Measure(says="mean cosine between real photos of different people"),
    "strangers_generated": Measure(says="mean cosine between images of different people"),
    "strangers_across": Measure(says="mean cosine of images to other people's photos"),
    "strangers_gap": Measure(
        says="difference between the mean cosines of different people: images and real photos",
        bars=(0.10,),
        at_least=False,
    ),
    "frechet": Measure(says="Fréchet distance to real crops of other people (interval: over draws)", at_least=False),
    "frechet_floor": Measure(says="the same for as many real people", at_least=False),
    "kernel": Measure(says="kernel distance to real crops of other people (interval: over halves)", at_least=False),
    "kernel_floor": Measure(says="the same for as many real people", at_least=False),
    "sharpness": Measure(says="fine detail, as a share of the real crops'"),
    "contrast": Measure(says="contrast, as a share of the real crops'"),
    "colour_cast": Measure(says="mean shift of a colour channel from the real crops", unit="of 255", at_least=False),
    "grid": Measure(says="spectral peak at the period of the latents' cells, 1 = none", at_least=False),
    "grid_real": Measure(says="the same of real crops", at_least=False),
    "pixel_pairs": Measure(says="spectral peak at every second pixel, 1 = none", at_least=False),
    "pixel_pairs_real": Measure(says="the same of real crops", at_least=False),
    "pixel_distance": Measure(says="root-mean-square difference between images of one person, 0-1"),
    "feature_distance": Measure(says="1 - cosine of features between images of one person"),
    "pose_spread": Measure(says="spread of yaw and pitch over images of one person", unit="degrees"),
    "pose_spread_real": Measure(says="the same over photos of different people", unit="degrees"),
    "expression_spread": Measure(says="spread of the 52 blendshapes over images of one person"),
    "expression_spread_real": Measure(says="the same over photos of different people"),
}

READING = {
    "found_single": Measure(says="single faces found (box overlaps the teacher's by half)", bars=(0.98,), unit="%"),
    "found_tight": Measure(says="faces found in pictures cut to the face's box", bars=(0.95,), unit="%"),
    "found_falsely": Measure(
        says="pictures without a face in which one was found", bars=(0.02,), unit="%", at_least=False
    ),
    "counted": Measure(says="composed pictures of 2-6 faces counted right", bars=(0.90,), unit="%"),
    "landmark_error": Measure(
        says="mean distance of 478 landmarks, as a share of the eye distance", bars=(0.045,), unit="%", at_least=False
    ),
    "yaw_error": Measure(says="mean absolute error of yaw", bars=(4.0,), unit="degrees", at_least=False),
    "pitch_error": Measure(says="mean absolute error of pitch", unit="degrees", at_least=False),
    "roll_error": Measure(says="mean absolute error of roll", unit="degrees", at_least=False),
    "mouthSmile": Measure(says="correlation of mouthSmile, left and right averaged", bars=(0.8,)),
    "jawOpen": Measure(says="correlation of jawOpen", bars=(0.8,)),
    "eyeBlink": Measure(says="correlation of eyeBlink, left and right averaged", bars=(0.8,)),
    "identity_to_teacher": Measure(says="mean cosine of the identity to the teacher's", bars=(0.80,)),
    "identity_strangers": Measure(
        says="mean cosine between different people's identities", bars=(0.12,), at_least=False
    ),
    "identity_strangers_teacher": Measure(says="the same of the teacher's own", at_least=False),
}

STEERING = {
    "yaw": Measure(says="mean yaw read back", unit="degrees"),
    "pitch": Measure(says="mean pitch read back", unit="degrees"),
    "smile": Measure(says="mean mouthSmile read back, 0-1"),
    "jawOpen": Measure(says="mean jawOpen read back, 0-1"),
    "eyeBlink": Measure(says="mean eyeBlink read back, 0-1"),
    "browInnerUp": Measure(says="mean browInnerUp read back, 0-1"),
    "likeness": Measure(says="mean cosine to the person's photo, 0 where no face was found"),
    "seconds": Measure(says="seconds per image", unit="s", at_least=False),
    "colour": Measure(says="mean colour's distance from the reference's", unit="of 255", at_least=False),
}

LIKENESS_GUIDANCE = {
    "gain": Measure(says="gain of likeness over unguided images, same people and seeds", bars=(0.0,)),
    "gain_halved": Measure(says="the same where both are judged without their finest detail", bars=(0.0,)),
    "likeness": Measure(says="mean cosine to the person's photo, 0 where no face was found"),
    "own": Measure(says="the cosine by the recogniser that guides"),
    "missing": Measure(says="images in which no face was found", unit="%", at_least=False),
    "core_seconds": Measure(says="seconds of one core per image", unit="s", at_least=False),
}

FACE0 = {
    "attributes": Measure(
        says="attributes, of five, that at least 80 % of the images with such a prompt show", bars=(4,), unit="of 5"
    ),
    "smile": Measure(says="images that show the requested smile or serious face", bars=(0.80,), unit="%"),
    "mouth": Measure(says="images that show the requested open mouth", bars=(0.80,), unit="%"),
    "gaze": Measure(says="images that look to the requested side", bars=(0.80,), unit="%"),
    "age": Measure(says="images that show the requested child or old person", bars=(0.80,), unit="%"),
    "monochrome": Measure(says="images that are black and white, as requested", bars=(0.80,), unit="%"),
    "kept": Measure(says="likeness with words, as a share of that without", bars=(0.85,), unit="%"),
    "rise": Measure(says="smallest gain of likeness from one weight of the face to the next larger one", bars=(0.0,)),
    "pull": Measure(
        says="images by words alone: the highest mean cosine to any person of the training data", at_least=False
    ),
    "together": Measure(
        says="pictures of two people in which each half's face is more like its own person", bars=(0.80,), unit="%"
    ),
    "holds": Measure(says="images that show the claim: the reading lies on its side of the middle", unit="%"),
    "clearly": Measure(says="images that show it clearly: beyond the threshold of the training captions", unit="%"),
    "beats": Measure(
        says="images whose reading lies further in this direction than with the opposite prompt", unit="%"
    ),
    "likeness": Measure(says="mean cosine to the person's photo, 0 where no face was found"),
    "nearest": Measure(says="the highest mean cosine to any person of the training data", at_least=False),
    "both_right": Measure(says="pictures in which both faces are more like their own person", unit="%"),
    "face_right": Measure(says="faces more like their own person than the other", unit="%"),
}

ANIMATE = {
    "flicker": Measure(
        says="warp error with one seed, as a share of that with a seed for each frame", bars=(1.0,), at_least=False
    ),
    "found": Measure(says="frames in which the landmarker finds a face", unit="%"),
    "seconds": Measure(says="seconds per frame, reading and writing included", unit="s", at_least=False),
    "yaw_error": Measure(says="mean absolute error of yaw to the driver", unit="degrees", at_least=False),
    "pitch_error": Measure(says="the same of pitch", unit="degrees", at_least=False),
    "roll_error": Measure(says="the same of roll", unit="degrees", at_least=False),
    "blendshape_error": Measure(says="mean absolute error of the blendshapes, 0-1", at_least=False),
    "warp": Measure(says="difference of neighbouring frames, one warped onto the other", unit="of 255", at_least=False),
    "high_pass": Measure(says="second difference of frames in time", unit="of 255", at_least=False),
}

EDITING = {
    "swap_nearer": Measure(says="swaps more like the source than the target", bars=(0.85,), unit="%"),
    "swap_top1": Measure(says="swaps most like their own source among all sources", bars=(0.60,), unit="%"),
    "swap_yaw": Measure(says="mean error of yaw to the target", bars=(6.0,), unit="degrees", at_least=False),
    "swap_pitch": Measure(says="the same of pitch", bars=(6.0,), unit="degrees", at_least=False),
    "reenact_pose": Measure(
        says="yaw's and pitch's error to the driver, as a share of the undriven photo's", bars=(0.5,), at_least=False
    ),
    "reenact_blendshapes": Measure(says="the same of 52 blendshapes", bars=(0.5,), at_least=False),
    "reenact_likeness": Measure(says="likeness, as a share of plain generation's", bars=(0.8,)),
    "inpaint_mouth": Measure(
        says="likeness with the mouth generated again, as a share of the photo re-encoded", bars=(0.7,)
    ),
    "inpaint_eyes": Measure(says="the same of the eyes", bars=(0.7,)),
    "inpaint_face": Measure(says="the same of the whole face", bars=(0.7,)),
    "head_colour": Measure(
        says="heads whose hair is more like the source's than the target's, by colour", bars=(0.5,), unit="%"
    ),
    "head_structure": Measure(says="the same by structure (SSIM)", bars=(0.5,), unit="%"),
    "head_shape": Measure(
        says="the same of the face's width by its height, without the effect of pose and jaw", bars=(0.5,), unit="%"
    ),
    "head_outline": Measure(says="the same of the face's width by its height as it is", unit="%"),
    "attribute_smile": Measure(
        says="a requested smile: largest side effect, as a share of the requested change", bars=(1 / 3,), at_least=False
    ),
    "attribute_jawOpen": Measure(says="the same of a requested open mouth", bars=(1 / 3,), at_least=False),
    "attribute_yaw": Measure(says="the same of a requested yaw of 20 degrees", bars=(1 / 3,), at_least=False),
    "attribute_likeness": Measure(says="likeness of all three, as a share of the photo re-encoded", bars=(0.8,)),
    "attribute_plain": Measure(says="the same, as a share of plain generation's", bars=(0.8,)),
    "chain_likeness": Measure(says="swap, then smile: likeness, as a share of that after the swap", bars=(0.8,)),
    "chain_smile": Measure(says="smile, then swap: the change of the smile, as a share of that before the swap"),
    "strayed": Measure(
        says="pixels changed outside the edit's mask, over all edits", bars=(0,), unit="pixels", at_least=False
    ),
    "to_source": Measure(says="mean cosine to the photo of the person to show, 0 where no face is found"),
    "to_target": Measure(says="the same to the photo that was edited"),
    "likeness": Measure(says="mean cosine to the photo, 0 where no face is found"),
    "encoded": Measure(says="the same of the photo with the region re-encoded"),
    "nearer": Measure(says="more like the source than the target", unit="%"),
    "top1": Measure(says="most like their own source among all", unit="%"),
    "yaw": Measure(says="mean of yaw", unit="degrees"),
    "pitch": Measure(says="mean of pitch", unit="degrees"),
    "blendshapes": Measure(says="mean absolute error of 52 blendshapes, 0-1", at_least=False),
    "found": Measure(says="images in which the landmarker finds a face", unit="%"),
    "colour": Measure(says="overlap of colour histograms, 0-1"),
    "structure": Measure(says="SSIM"),
    "shape": Measure(
        says="difference of the face's width by its height, without the effect of pose and jaw", at_least=False
    ),
    "outline": Measure(says="difference of the face's width by its height", at_least=False),
    "smile": Measure(says="mean of mouthSmile, 0-1"),
    "jawOpen": Measure(says="mean of jawOpen, 0-1"),
    "eyeBlink": Measure(says="mean of eyeBlink, 0-1"),
    "browInnerUp": Measure(says="mean of browInnerUp, 0-1"),
}

PAIRS = {
    "other_alike": Measure(says="mean distance to another photo of the person", bars=(0.53,), at_least=False),
    "other_rank1": Measure(says="images most like their own person's other photo among all", bars=(0.70,), unit="%"),
    "other_within": Measure(says="images within 0.6 of the other photo", bars=(0.80,), unit="%"),
    "given_alike": Measure(says="mean distance to the photo that was read", at_least=False),
    "given_rank1": Measure(says="images most like the photo that was read among all", bars=(0.80,), unit="%"),
    "given_within": Measure(says="images within 0.6 of it", unit="%"),
    "copied": Measure(says="how much nearer images are to the photo that was read than to the other", at_least=False),
    "missing": Measure(says="images in which no face was found", bars=(0.005,), at_least=False, unit="%"),
    "strangers_within": Measure(says="real photos of strangers within 0.6 of one another", at_least=False, unit="%"),
    "alike": Measure(says="mean distance or cosine, of images with a face"),
    "rank1": Measure(says="most like their own person among all", unit="%"),
    "within": Measure(says="at the judge's limit, one person", unit="%"),
}

_WHOLE = "whole messages right"
WATERMARK = {
    "psnr": Measure(says="fidelity of marked pictures, from 256 px on", bars=(40,), unit="dB"),
    "likeness_change": Measure(
        says="how far the mark moves the likeness of edits and of photos from 256 px on", bars=(0.005,), at_least=False
    ),
    "likeness_shift": Measure(says="the same with its sign: what the mark adds to likeness in the mean"),
    "plain": Measure(says=f"{_WHOLE}: as it was written", bars=(0.995,), unit="%"),
    "jpeg90": Measure(says=f"{_WHOLE}: JPEG 90", bars=(0.99,), unit="%"),
    "jpeg70": Measure(says=f"{_WHOLE}: JPEG 70", bars=(0.99,), unit="%"),
    "jpeg50": Measure(says=f"{_WHOLE}: JPEG 50", bars=(0.95,), unit="%"),
    "webp80": Measure(says=f"{_WHOLE}: WebP 80", bars=(0.99,), unit="%"),
    "half": Measure(says=f"{_WHOLE}: reduced to half", bars=(0.99,), unit="%"),
    "double": Measure(says=f"{_WHOLE}: enlarged to double", bars=(0.99,), unit="%"),
    "crop80": Measure(says=f"{_WHOLE}: cropped to 80 % of each side", bars=(0.99,), unit="%"),
    "crop70": Measure(says=f"{_WHOLE}: cropped to 70 %", unit="%"),
    "blur": Measure(says=f"{_WHOLE}: blurred, sigma 1", bars=(0.99,), unit="%"),
    "brighter": Measure(says=f"{_WHOLE}: brightness + 20 %", bars=(0.99,), unit="%"),
    "darker": Measure(says=f"{_WHOLE}: brightness - 20 %", bars=(0.99,), unit="%"),
    "harder": Measure(says=f"{_WHOLE}: contrast + 20 %", bars=(0.99,), unit="%"),
    "softer": Measure(says=f"{_WHOLE}: contrast - 20 %", bars=(0.99,), unit="%"),
    "screenshot": Measure(says=f"{_WHOLE}: resized to 80 %, cropped to 90 %, JPEG 75", bars=(0.97,), unit="%"),
    "autoencoder": Measure(says=f"{_WHOLE}: 256 px, through the model's own autoencoder", unit="%"),
    "wrong": Measure(
        says="other messages than the written one, over all of these", bars=(0,), at_least=False, unit="%"
    ),
    "false_positives": Measure(says="unmarked pictures in which a mark is found", bars=(0,), at_least=False, unit="%"),
    "above_threshold": Measure(
        says="unmarked pictures whose score reaches the threshold; what they say then does not agree",
        at_least=False,
        unit="%",
    ),
    "above_of_parts": Measure(says="unmarked pictures whose score reaches what a part needs", at_least=False, unit="%"),
    "mark_256": Measure(says="CPU time to mark a picture of 256 px", bars=(10,), at_least=False, unit="ms"),
    "mark_512": Measure(says="the same of 512 px", bars=(60,), at_least=False, unit="ms"),
    "detect_256": Measure(says="CPU time to look for a mark in 256 px", bars=(30,), at_least=False, unit="ms"),
    "detect_512": Measure(says="the same in 512 px", bars=(100,), at_least=False, unit="ms"),
    "score": Measure(says="mean score"),
    "lowest": Measure(says="lowest score"),
    "highest": Measure(says="highest score"),
    "found": Measure(says="whole messages right over all changes", unit="%"),
}

SERVING = {
    "seconds_to_ready": Measure(
        says="from the start of the process until it is ready", bars=(8,), at_least=False, unit="s"
    ),
    "idle": Measure(says="memory at rest, without the page", bars=(922,), at_least=False, unit="MiB"),
    "bulk_images_per_s": Measure(says="the library alone, in calls of 16", unit="images/s"),
    "share_of_bulk": Measure(says="images per second, as a share of that", bars=(0.8,), unit="%"),
    "one_result": Measure(says="accepted jobs that ended with exactly one result", bars=(1,), unit="%"),
    "other_answers": Measure(says="answers that are neither 202 nor 503", bars=(0,), at_least=False, unit="answers"),
    "images_per_s": Measure(says="of jobs that ended well", unit="images/s"),
    "wait_p50": Measure(says="from acceptance to end, median", unit="s", at_least=False),
    "wait_p95": Measure(says="the same, 95th percentile", unit="s", at_least=False),
    "requests_per_call": Measure(says="requests that shared a call, mean, since the last start"),
    "memory_first": Measure(says="most memory in the first half", unit="MiB", at_least=False),
    "memory_second": Measure(says="the same in the second half", unit="MiB", at_least=False),
}

KINDS: Mapping[str, Mapping[str, Measure]] = {
    "generation": GENERATION,
    "reading": READING,
    "speed": SPEED,
    "startup": STARTUP,
    "compare_amx": COMPARE_AMX,
    "compare_avx512": COMPARE_AVX512,
    "compare_float32": COMPARE_FLOAT32,
    "compare_gpu": COMPARE_GPU,
    "modes": MODES,
    "steering": STEERING,
    "likeness_guidance": LIKENESS_GUIDANCE,
    "face0": FACE0,
    "animate": ANIMATE,
    "editing": EDITING,
    "pairs": PAIRS,
    "watermark": WATERMARK,
    "serving": SERVING,
}


def measures_of(kind: str) -> Mapping[str, Measure]:
    """The table of a kind of report; an unknown one is answered with the nearest."""
    if kind not in KINDS:
        raise unknown_name("kind of report", kind, KINDS)
    return KINDS[kind]


def measure_of(kind: str, figure: str) -> Measure:
    """What `figure` of a report of `kind` means. Raises `BadData` if nobody wrote that down."""
    table = measures_of(kind)
    if figure not in table:
        raise BadData(f"a {kind} report has no figure {figure!r}: add it to evaluation/measures.py")
    return table[figure]
