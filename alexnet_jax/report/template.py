"""The pages' templates, and what a page allows a browser to do.

Each page has a content-security policy that allows its own script and style, by their digests, and nothing
of any network: text of a run that came through as markup would still not run.
"""

import base64
import hashlib
from pathlib import Path

import jinja2
from markupsafe import Markup


def load(path: Path) -> jinja2.Template:
    """Return a template that escapes whatever is put into it and knows the filter `source_hash`."""
    loader = jinja2.FileSystemLoader(path.parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["source_hash"] = source_hash
    return environment.get_template(path.name)


def source_hash(text: str) -> Markup:
    """Return how a policy names the content of an inline <script> or <style> that it allows."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")
