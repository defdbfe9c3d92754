"""The colours and fonts of the diagrams: those of the charts, and their counterparts in the dark.

Plain classes rather than CSS variables, which not every viewer of SVG knows.
"""

from __future__ import annotations

Theme = dict[str, str]

LIGHT: Theme = {
    "paper": "#ffffff",
    "edge": "#c9d3dd",
    "ink": "#1b3a5c",
    "soft": "#4d6175",
    "mid": "#5b8db8",
    "light": "#c9dcec",
    "dark": "#1b3a5c",
    "on-dark": "#ffffff",
    "accent": "#d1495b",
}
DARK: Theme = {
    "paper": "#12202e",
    "edge": "#30465a",
    "ink": "#e6eff7",
    "soft": "#b3c4d3",
    "mid": "#7fb0d8",
    "light": "#28496a",
    "dark": "#c9dcec",
    "on-dark": "#12202e",
    "accent": "#ff7f8e",
}

SANS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", '
    "sans-serif"
)
MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'

#: What a shape looks like: (fill, stroke) by the names above. Each differs from the others in
#: black and white, too: by its edge, its dashes or its hatches.
LOOKS: dict[str, tuple[str, str]] = {
    "paper": ("paper", "edge"),
    "plain": ("paper", "ink"),
    "frame": ("none", "mid"),
    "light": ("light", "ink"),
    "dark": ("dark", "dark"),
    "dashed": ("light", "ink"),
    "open": ("none", "mid"),
    "work": ("mid", "ink"),
    "hatch": ("url(#hatch)", "soft"),
    "line": ("none", "ink"),
    "head": ("ink", "none"),
    "guide": ("none", "soft"),
    "barrier": ("none", "accent"),
    "barrier-head": ("accent", "none"),
}
#: The colours that text may have.
INKS = ("ink", "soft", "on-dark")
#: The rest of a look, the same in both themes.
EXTRA = {
    "paper": "stroke-width:1.5",
    "plain": "stroke-width:2",
    "frame": "stroke-width:2.5",
    "light": "stroke-width:2",
    "dark": "stroke-width:2",
    "dashed": "stroke-width:2.5;stroke-dasharray:9 6",
    "open": "stroke-width:2.5;stroke-dasharray:7 5",
    "work": "stroke-width:1.5",
    "hatch": "stroke-width:1.5",
    "line": "stroke-width:2.5",
    "guide": "stroke-width:2;stroke-dasharray:3 5",
    "barrier": "stroke-width:4",
}


def style() -> str:
    """The content of a diagram's `<style>`."""
    fixed = [
        ":root{max-width:100%;height:auto}",
        f"text{{font-family:{SANS}}}",
        f".code{{font-family:{MONO}}}",
        ".bold{font-weight:700}",
        *(f".{look}{{{rest}}}" for look, rest in EXTRA.items()),
    ]
    dark = "".join(_coloured(DARK))
    return "\n".join(
        [*fixed, *_coloured(LIGHT), f"@media (prefers-color-scheme:dark){{{dark}}}"],
    )


def _coloured(theme: Theme) -> list[str]:
    def colour(name: str) -> str:
        return theme.get(name, name)

    rules = [
        f".{look}{{fill:{colour(fill)};stroke:{colour(stroke)}}}"
        for look, (fill, stroke) in LOOKS.items()
    ]
    rules += [f"text.{ink}{{fill:{theme[ink]}}}" for ink in INKS]
    return [*rules, f".stripe{{stroke:{theme['soft']};stroke-width:1.6}}"]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it: from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
