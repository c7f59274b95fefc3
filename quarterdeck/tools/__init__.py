"""What an agent may do: tools from functions, a registry, and their execution."""

from quarterdeck.tools.base import Toolbox
from quarterdeck.tools.decorator import FunctionTool, ToolOptions, as_tool, tool
from quarterdeck.tools.executor import Executor, Job
from quarterdeck.tools.registry import CatalogueEntry, Registry, render_prompt

__all__ = [
    "CatalogueEntry",
    "Executor",
    "FunctionTool",
    "Job",
    "Registry",
    "ToolOptions",
    "Toolbox",
    "as_tool",
    "render_prompt",
    "tool",
]
