"""The model card of postcard, written from measured results and from the code, never by hand."""

from __future__ import annotations

from typing import Any

from training.attributes import ABSENT, HEADS

TEMPLATE = """# postcard: model card

A text-to-image model small enough to ship with a package and to draw on two CPU cores: the
DALL-E Mini architecture (byte-pair text, an encoder, a decoder that draws image tokens row by row,
a VQGAN decoder that turns tokens into pixels), trained from scratch on procedurally drawn scenes.

*This file is written by `python -m training.evaluate`; edit `training/model_card.py` instead.*

| | |
|---|---|
| picture | 128 x 128 pixels, 16 x 16 tokens of 8 x 8 pixels, {codebook} codes |
| transformer | {transformer_parameters:,} parameters, half precision |
| detokenizer | {detokenizer_parameters:,} parameters, half precision |
| training | {vqgan_minutes:.0f} minutes tokenizer, {transformer_minutes:.0f} minutes transformer \
({pictures:,} pictures seen), two cores of a shared CPU, no GPU |
| data | drawn by `training/rendering.py`; no photograph, no drawing and no text of anybody else |
| sampling | temperature {temperature:g}, top_k {top_k}, guidance {guidance:g} |

## Results

{prompts} prompts, each with a combination of attributes that no training scene contains; pictures
drawn with the {sampler} from the shipped files, seed {seed}, and read by a classifier trained on
renders only.

| measure | result | bar |
|---|---|---|
| named attributes that are in the picture ({named}) | **{overall:.1%}** | {bar_overall:.0%} |
| worst kind of attribute ({worst_kind}) | {worst:.1%} | {bar_worst:.0%} |
| objects not named that are absent | {absent:.1%} | |
| classifier on {renders} fresh renders | {classifier:.2%} | {bar_classifier:.0%} |
| classifier on reconstructed renders (tokenizer only) | {reconstructions:.2%} | |
| tokenizer, PSNR on fresh renders | {psnr:.1f} dB | {bar_psnr:.0f} dB |

| kind of attribute | named | right | classifier alone |
|---|---|---|---|
{kinds}

## What prompts may name

{vocabulary}

A prompt names a time and a land first, then objects, in the manner of these:

{examples}

What is not named is not drawn, except clouds and the sun or moon, which are left to chance.

## What it is not

It knows a few dozen words. Other words are read as letters it has never learnt from, so the
picture then follows the rest of the prompt, or nothing. One house, one boat, one balloon: it cannot
count beyond three trees, and places are left, middle and right. Where a result above is below its
bar, the picture is mostly right in its setting and often wrong in a colour or a side: NOTES.md says
why, and what to try next. It is a test model and a toy.
"""


def card(results: dict[str, Any], facts: dict[str, Any]) -> str:
    """Fill the template with evaluate's results and the facts of the training runs."""
    classifier, bars = results["classifier"], results["bars"]
    rows = [
        f"| {kind} | {entry['count']} | {entry['accuracy']:.1%} | {classifier['kinds'][kind]:.1%} |"
        for kind, entry in sorted(results["kinds"].items(), key=lambda item: item[1]["accuracy"])
    ]
    values = {
        kind: ", ".join(value for value in heads if value != ABSENT)
        for kind, heads in HEADS.items()
    }
    count = sum(len([v for v in heads if v != ABSENT]) for heads in HEADS.values())
    listed = "\n".join(f"- {kind}: {names}" for kind, names in values.items())
    return TEMPLATE.format(
        codebook=facts["codebook_size"],
        transformer_parameters=facts["transformer_parameters"],
        detokenizer_parameters=facts["detokenizer_parameters"],
        vqgan_minutes=facts["vqgan_minutes"],
        transformer_minutes=facts["transformer_minutes"],
        pictures=facts["pictures"],
        **results["sampling"],
        prompts=results["prompts"],
        sampler=results["sampler"],
        seed=results["seed"],
        named=f"{results['named_attributes']:,} in all",
        overall=results["overall"],
        worst_kind=results["worst_kind"],
        worst=results["worst"],
        absent=results["unnamed_objects_absent"],
        renders=classifier["renders"],
        classifier=classifier["mean"],
        reconstructions=classifier["on_reconstructions"],
        psnr=results["vqgan_psnr"],
        bar_overall=bars["overall"],
        bar_worst=bars["worst kind"],
        bar_classifier=bars["classifier"],
        bar_psnr=bars["psnr"],
        kinds="\n".join(rows),
        vocabulary=f"{len(HEADS)} kinds of attribute, {count} values:\n\n{listed}",
        examples="\n".join(f"- {text}" for text in facts["examples"]),
    )
