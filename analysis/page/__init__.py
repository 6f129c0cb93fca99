"""Reports as pages: what is on them, and how they are written as HTML and as Markdown."""
