"""The same turns in LangGraph with its own checkpointers: one model message and one tool result of 1 kB, each made durable.

`durability="sync"` stores each step before the next begins. Its default stores behind the run's back, and a crash loses the
latest steps.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, MessagesState, StateGraph

from bench.reference.turns import KILOBYTE


def cost_ms(saver: BaseCheckpointSaver[Any], thread: str, length: int) -> float:
    """CPU milliseconds of this process per turn of one run of `length` turns."""
    graph: Any = StateGraph(MessagesState)

    def model(state: MessagesState) -> dict[str, Any]:
        call = {"name": "read", "args": {"page": 1}, "id": f"c{len(state['messages'])}"}
        return {"messages": [AIMessage(content=KILOBYTE, tool_calls=[call])]}

    def tools(state: MessagesState) -> dict[str, Any]:
        last: Any = state["messages"][-1]
        return {"messages": [ToolMessage(content=KILOBYTE, tool_call_id=last.tool_calls[0]["id"])]}

    def more(state: MessagesState) -> str:
        return "model" if len(state["messages"]) < 2 * length else END

    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    graph.add_conditional_edges("tools", more)
    compiled = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": thread}, "recursion_limit": 4 * length + 10}
    started = time.process_time()
    compiled.invoke({"messages": []}, config, durability="sync")
    return (time.process_time() - started) * 1e3 / length


@contextlib.contextmanager
def sqlite_saver(path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    """Its SQLite checkpointer as it opens one itself."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        saver = SqliteSaver(connection)
        saver.setup()
        yield saver
    finally:
        connection.close()


@contextlib.contextmanager
def postgres_saver(url: str) -> Iterator[BaseCheckpointSaver[Any]]:
    """Its Postgres checkpointer as it opens one itself."""
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        yield saver
