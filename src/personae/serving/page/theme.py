"""How the page looks: calm paper and ink, one deep green, the system's own letters. Nothing comes from elsewhere.

    css()       # beside `theme()` and `head()`: arguments of Blocks.launch

Every colour of letters stands on its ground with a contrast of at least 4.5 (WCAG 2 AA), by day and by night;
tests/test_page_browser.py has axe look.
"""

from importlib.resources import files
from typing import Any

import gradio as gr

_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "monospace")

_GREEN = gr.themes.Color(
    name="personae_green",
    c50="#eff7f4",
    c100="#d9ece5",
    c200="#b5d9cd",
    c300="#86bfae",
    c400="#58a08d",
    c500="#2f7f6c",
    c600="#1f6757",
    c700="#185447",
    c800="#13433a",
    c900="#0e342d",
    c950="#08211c",
)
_PAPER = gr.themes.Color(
    name="personae_paper",
    c50="#faf8f5",
    c100="#f3f0ea",
    c200="#e6e1d8",
    c300="#d3ccc0",
    c400="#a39b8d",
    c500="#6f685c",
    c600="#57514a",
    c700="#413d38",
    c800="#2a2825",
    c900="#1e1d1b",
    c950="#151413",
)
_LIGHT = {
    "body_background_fill": "*neutral_50",
    "body_text_color": "*neutral_900",
    "body_text_color_subdued": "*neutral_600",
    "background_fill_primary": "#ffffff",
    "background_fill_secondary": "*neutral_50",
    "block_background_fill": "#ffffff",
    "block_border_color": "*neutral_200",
    "block_label_background_fill": "#ffffff",
    "block_label_text_color": "*neutral_600",
    "block_title_text_color": "*neutral_800",
    "block_info_text_color": "*neutral_600",
    "border_color_primary": "*neutral_200",
    "border_color_accent": "*primary_600",
    "input_background_fill": "#ffffff",
    "input_border_color": "*neutral_300",
    "input_border_color_focus": "*primary_600",
    "input_placeholder_color": "*neutral_500",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_text_color": "#ffffff",
    "button_secondary_background_fill": "*neutral_100",
    "button_secondary_background_fill_hover": "*neutral_200",
    "button_secondary_text_color": "*neutral_900",
    "checkbox_background_color_selected": "*primary_600",
    "checkbox_border_color": "*neutral_500",
    "checkbox_border_color_selected": "*primary_600",
    "checkbox_label_background_fill": "*neutral_100",
    "checkbox_label_background_fill_hover": "*neutral_200",
    "checkbox_label_background_fill_selected": "*primary_100",
    "checkbox_label_text_color": "*neutral_900",
    "checkbox_label_text_color_selected": "*neutral_900",
    "color_accent": "*primary_600",
    "color_accent_soft": "*primary_50",
    "link_text_color": "*primary_700",
    "slider_color": "*primary_600",
    "error_text_color": "#8f1f13",
}
_DARK = {
    "body_background_fill": "*neutral_950",
    "body_text_color": "*neutral_100",
    "body_text_color_subdued": "*neutral_300",
    "background_fill_primary": "*neutral_900",
    "background_fill_secondary": "*neutral_950",
    "block_background_fill": "*neutral_900",
    "block_border_color": "*neutral_700",
    "block_label_background_fill": "*neutral_900",
    "block_label_text_color": "*neutral_300",
    "block_title_text_color": "*neutral_100",
    "block_info_text_color": "*neutral_300",
    "border_color_primary": "*neutral_700",
    "border_color_accent": "*primary_400",
    "input_background_fill": "*neutral_800",
    "input_border_color": "*neutral_600",
    "input_border_color_focus": "*primary_400",
    "input_placeholder_color": "*neutral_400",
    "button_primary_background_fill": "*primary_300",
    "button_primary_background_fill_hover": "*primary_200",
    "button_primary_text_color": "*neutral_950",
    "button_secondary_background_fill": "*neutral_800",
    "button_secondary_background_fill_hover": "*neutral_700",
    "button_secondary_text_color": "*neutral_100",
    "checkbox_background_color_selected": "*primary_500",
    "checkbox_border_color": "*neutral_400",
    "checkbox_border_color_selected": "*primary_400",
    "checkbox_label_background_fill": "*neutral_800",
    "checkbox_label_background_fill_hover": "*neutral_700",
    "checkbox_label_background_fill_selected": "*primary_800",
    "checkbox_label_text_color": "*neutral_100",
    "checkbox_label_text_color_selected": "*neutral_100",
    "color_accent_soft": "*primary_900",
    "link_text_color": "*primary_300",
    "slider_color": "*primary_400",
    "error_text_color": "#f2b8b1",
}


def theme() -> gr.themes.Base:
    """The theme of the page, by day and by night."""
    base = gr.themes.Base(
        primary_hue=_GREEN, secondary_hue=_GREEN, neutral_hue=_PAPER, radius_size="lg", font=_SANS, font_mono=_MONO
    )
    more: dict[str, Any] = {**_LIGHT, **{f"{name}_dark": value for name, value in _DARK.items()}}
    return base.set(
        **more,
        block_shadow="none",
        block_shadow_dark="none",
        input_border_width="1px",
        input_border_width_dark="1px",
        block_title_text_weight="500",
        block_label_text_size="*text_sm",
        button_large_text_weight="600",
        shadow_drop="none",
        shadow_drop_lg="none",
    )


def css() -> str:
    """The style sheet of what is ours: cards, the face picker, the comparison."""
    return _own("page.css")


def head() -> str:
    """What stands in the page's head: the script of its buttons, inline."""
    return f"<script>{_own('page.js')}</script>"


def _own(name: str) -> str:
    return (files("personae.serving.page") / name).read_text("utf-8")
