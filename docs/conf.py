"""Sphinx configuration: `make docs`. Neither building nor reading the site needs a network."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator
from sphinx_autosummary_accessors import templates_path as accessor_templates
from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

sys.path.insert(0, str(Path(__file__).parent))

import tables

import xh2cm
from xh2cm.accessor import H2CMAccessor
from xh2cm.cli import app as command_line
from xh2cm.plots.plots import Plots

sys.modules["xh2cm.tutorial"] = xh2cm.tutorial  # autodoc imports the name that users write
H2CMAccessor.plot = Plots  # the class of the property, since autodoc reads the class

os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # cells show no progress bar

GENERATED = Path(__file__).with_name("reference") / "generated"

project = "xh2cm"
author = copyright = "xh2cm developers"  # noqa: A001
version = release = xh2cm.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "reference/generated/*.md"]
templates_path = ["_templates", accessor_templates]
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"(?!xh2cm\.).*")]  # a name in a docstring is a link where there is a page for it

# Pages: Markdown with executed code cells
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "force"  # a page that is built is executed
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"

# Docstrings: numpydoc
autosummary_generate = True
autodoc_typehints = "none"  # docstrings state the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the templates list members
default_role = "autolink"

highlight_language = "none"  # blocks without a language contain output

html_theme = "pydata_sphinx_theme"
html_title = "xh2cm"
html_static_path = ["_static"]
html_css_files = ["xh2cm.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "variables": []},  # its tables are wide
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}


def mathml(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers display without a script."""
    block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula: %s", error, location=node)
        formula = translator.encode(node.astext())
    translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def generate(_app: Sphinx) -> None:
    """Write the pages generated from the code: the tables and the commands."""
    tables.PAGE.write_text(tables.page(), encoding="utf-8")
    GENERATED.mkdir(exist_ok=True)
    program = get_command(command_line)
    context = Context(program)
    commands = [program.get_command(context, name) for name in program.list_commands(context)]
    text = "\n\n".join([get_docs_for_click(obj=c, ctx=context, call_prefix="xh2cm", indent=1) for c in commands])
    (GENERATED / "commands.md").write_text(text, encoding="utf-8")


def deal(_app: Sphinx, _env: BuildEnvironment, pages: list[str]) -> None:
    """Distribute pages that execute code over the processes, which Sphinx gives consecutive pages."""
    pages[:] = [page for first in range(8) for page in pages[first::8]]


def setup(app: Sphinx) -> None:
    """Register the math renderer and the event handlers."""
    app.add_html_math_renderer("mathml", inline_renderers=(mathml, None), block_renderers=(mathml, None))
    app.connect("env-before-read-docs", deal)
    app.connect("builder-inited", generate, priority=100)
