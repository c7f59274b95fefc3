"""An example of every body there is, by the name of its model. A test holds each against the model's schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["EXAMPLES"]

_RUN, _SESSION, _DRAFT = (
    "019c2f6a8b407d1f8a3c5e7d9b1f2a4c",
    "019c2f6a8b3e7c20b1d4f6a8c0e2d4b6",
    "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f",
)
_BEGAN, _ENDED = "2026-03-02T09:14:07.120000Z", "2026-03-02T09:14:08.410000Z"
_USAGE = {"prompt_tokens": 812, "completion_tokens": 61, "total_tokens": 873, "cost_usd": 0.0019}
_TEXT = "A VPN session lasts 12 hours."
_COMMON: dict[str, Any] = {
    "answer": "A session lasts 12 hours, then you sign in again [1].",
    "confidence": "high",
    "confidence_score": 0.94,
    "tool_calls": ["search_knowledge"],
    "needs_human_review": False,
    "drafts": [],
    "session_id": _SESSION,
    "model": "openai:gpt-5-mini",
    "usage": _USAGE,
    "latency_ms": 1290.0,
    "stop_reason": "completed",
}
_CHAT = {
    **_COMMON,
    "sources": ["vpn-setup-3"],
    "citations": [
        {
            "id": "vpn-setup-3",
            "title": "Set up the VPN",
            "content": _TEXT,
            "score": 0.91,
            "uri": "/api/v1/documents/vpn-setup?at=210-239&edition=1",
            "document": "vpn-setup",
            "span": [210, 239],
            "place": "/api/v1/documents/vpn-setup?at=210-239&edition=1",
        }
    ],
    "run_id": _RUN,
}
_AGENT_ANSWER = {
    **_COMMON,
    "id": _RUN,
    "sources": [
        {
            "id": "vpn-setup-3",
            "content": _TEXT,
            "score": 0.91,
            "metadata": {"title": "Set up the VPN", "document": "vpn-setup"},
        }
    ],
}
_ROW = {
    "run_id": _RUN,
    "agent": "support",
    "user": "emma",
    "session_id": _SESSION,
    "status": "done",
    "code": None,
    "head": 9,
    "created_at": _BEGAN,
    "updated_at": _ENDED,
}
_PROBLEM = {"code": "not_found", "message": "there is no run 7", "request_id": "b1946ac92492d2347c6235b4d2611184"}
_SESSION_BODY = {
    "id": _SESSION,
    "user_id": "emma",
    "agent_id": "support",
    "state": "active",
    "context": {"channel": "intranet"},
    "created_at": _BEGAN,
    "updated_at": _ENDED,
}
_DRAFT_BODY = {
    "id": _DRAFT,
    "status": "waiting",
    "run_id": _RUN,
    "call_id": "t1c1",
    "agent": "support",
    "tool": "create_ticket",
    "args": {"title": "Laptop does not charge", "priority": "normal"},
    "args_hash": "9f86d081884c7d659a2feaa0c55ad015",
    "summary": "Open a ticket: Laptop does not charge",
    "risk": 2,
    "rule": "writes.ask",
    "reasons": ["a write of risk 2 waits for a person"],
    "integrity": "trusted",
    "sources": [],
    "requested_by": "emma",
    "approvers": ["approver"],
    "level": 1,
    "step": 1,
    "steps": 1,
    "quorum": 1,
    "consents": [],
    "four_eyes": False,
    "reason_required": False,
    "on_expiry": "reject",
    "escalate_to": [],
    "escalates_at": None,
    "escalated": False,
    "sink": ["everybody"],
    "evidence": [
        {
            "argument": "title",
            "value": "Laptop does not charge",
            "origin": "words",
            "source": "",
            "snippet": "",
        }
    ],
    "endorse": [],
    "endorsed": [],
    "policy_version": "5d41402abc4b",
    "created_at": _BEGAN,
    "expires_at": "2026-03-03T09:14:07.120000Z",
    "decided_by": None,
    "decided_at": None,
    "reason": None,
    "edited_args": None,
    "undo": "withdraw_ticket",
}
_DELEGATION = {
    "id": "0195f3c2a1b27c3d8e4f5a6b7c8d9e0f",
    "giver": "omar",
    "to": "marc",
    "roles": ["employee", "approver"],
    "begins_at": _BEGAN,
    "ends_at": "2026-03-16T08:00:00Z",
    "reason": "away for two weeks",
    "revoked": False,
}
_DOCUMENT = {
    "id": "vpn-setup",
    "title": "Set up the VPN",
    "uri": "",
    "groups": ["everyone"],
    "trusted": True,
    "edition": 2,
    "stored_at": _BEGAN,
    "collection": "knowledge",
    "path": "vpn-setup.md",
}
_MODEL = {"id": "support", "object": "model", "created": 0, "owned_by": "quarterdeck", "description": "Answers questions."}

_RUN_BODY: dict[str, Any] = {
    **_CHAT,
    "agent": "support",
    "user": "emma",
    "status": "done",
    "question": "How long does a VPN session last?",
    "doubts": [],
    "tool_calls_made": [{"id": "t1c1", "name": "search_knowledge", "arguments": {"query": "VPN session"}, "status": "ok"}],
    "error": None,
    "head": 9,
    "request_id": "b7d0c1e2-support-page",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "tags": {"experiment": "b"},
    "created_at": _BEGAN,
    "updated_at": _ENDED,
}
_LABEL = {"integrity": "trusted", "readers": [["user:emma"]], "sources": []}
_STORY = {
    **_RUN_BODY,
    "steps": [
        {
            "seq": 1,
            "at": _BEGAN,
            "kind": "input",
            "seconds": None,
            "tokens": None,
            "cost_usd": None,
            "told": {
                "agent": "support",
                "user": "emma",
                "question": {"role": "user", "text": "How long does a VPN session last?", **_LABEL},
                "history": 0,
                "forked_from": None,
                "tags": {"experiment": "b"},
            },
        }
    ],
    "withheld": False,
}
_WEBHOOK = {
    "id": "019c2f6a8b3e7c20b1d4f6a8c0e2d4b7",
    "url": "https://crm.example/hooks/agents",
    "events": ["approval_needed", "run_finished"],
    "description": "",
    "content": False,
    "configured": False,
    "user": "omar",
    "status": "active",
    "reason": "",
    "created_at": _BEGAN,
}
_DELIVERY = {
    "id": "7d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a",
    "notice_id": "evt_5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b",
    "type": "run_finished",
    "run_id": _RUN,
    "sink": "webhook",
    "address": "019c2f6a8b3e7c20b1d4f6a8c0e2d4b7",
    "status": "dead",
    "attempts": 14,
    "error": "the receiver answered 500",
    "happened_at": _ENDED,
    "due_at": None,
}

_AUDIT_ROW = {
    "tenant": "acme",
    "seq": 812,
    "at": "2026-03-02T09:14:07.120000+00:00",
    "actor": "agent:helper",
    "subject": "user:emma",
    "action": "decision",
    "object": f"{_RUN}:t1c0:search_knowledge",
    "decision": "allow",
    "args_hash": "5f" * 32,
    "prev": "8a" * 32,
    "hash": "c3" * 32,
}
EXAMPLES: Mapping[str, Any] = {
    "PrivacyRequest": {"user": "emma"},
    "ErasureBody": {
        "id": "2c5d7e9fa1b3c4d5e6f708192a3b4c5d",
        "subject": "user",
        "name": "emma",
        "status": "running",
        "runs": 12,
        "records": 0,
        "things": 1,
        "waiting": 1,
    },
    "AuditList": {"rows": [_AUDIT_ROW], "after": None},
    "AuditVerdict": {"tenant": "acme", "rows": 812, "head": "c3" * 32, "bad": None, "checkpoints": 0},
    "Problem": {"error": _PROBLEM},
    "Health": {"status": "ok"},
    "Readiness": {"status": "healthy", "timestamp": _ENDED, "checks": {"journal": "ok", "knowledge": "ok", "worker": "ok"}},
    "ChatRequest": {"message": "How long does a VPN session last?"},
    "ChatAnswer": _CHAT,
    "AgentQuery": {"query": "How long does a VPN session last?", "options": {"timeout_s": 20}},
    "AgentAnswer": _AGENT_ANSWER,
    "BatchRequest": {"items": [{"query": "How long does a VPN session last?"}, {"query": "Who repairs laptops?"}]},
    "BatchAnswer": {
        "items": [
            {"index": 0, "status": "ok", "answer": _AGENT_ANSWER},
            {"index": 1, "status": "error", "error": {**_PROBLEM, "code": "model_unavailable", "message": "try again"}},
        ],
        "succeeded": 1,
        "failed": 1,
    },
    "RunBody": _RUN_BODY,
    "StoryBody": _STORY,
    "RequestStory": {"request_id": "b7d0c1e2-support-page", "runs": [_STORY], "before": None},
    "RunList": {"runs": [_ROW]},
    "Exported": {"run_id": _RUN, "uri": f"file:///data/states/acme/runs/{_RUN}.json"},
    "DoubtList": {
        "doubts": [
            {
                "run_id": _RUN,
                "call_id": "t1c1",
                "tool": "create_ticket",
                "args": {"title": "Laptop does not charge"},
                "started_seq": 6,
                "started_at": _BEGAN,
                "not_before": _ENDED,
                "requested_by": "emma",
                "four_eyes": False,
                "approvers": ["approver"],
            }
        ]
    },
    "ReasonRequest": {"reason": "asked twice"},
    "SteerRequest": {"message": "Only tickets of this year, please."},
    "ForkRequest": {"at": 4},
    "DoubtResolution": {"outcome": "done", "output": "ticket 4711"},
    "ApprovalDecision": {"approved": True, "reason": "checked with the requester"},
    "DraftBody": _DRAFT_BODY,
    "DraftList": {"approvals": [_DRAFT_BODY]},
    "Decisions": {"ids": [_DRAFT], "approved": True, "reason": "the usual"},
    "EndorsementRequest": {"argument": "iban", "value": "DE02120300000000202051", "reason": "on the signed invoice"},
    "DecisionOutcomes": {"outcomes": [{"id": _DRAFT, "status": "approved", "error": None}]},
    "DelegationRequest": {"to": "marc", "ends_at": "2026-03-16T08:00:00Z", "reason": "away for two weeks"},
    "DelegationBody": _DELEGATION,
    "DelegationList": {"delegations": [_DELEGATION]},
    "SessionRequest": {"agent_id": "support", "context": {"channel": "intranet"}},
    "SessionBody": _SESSION_BODY,
    "SessionList": {"sessions": [_SESSION_BODY]},
    "SessionDetail": {
        **_SESSION_BODY,
        "messages": [
            {
                "id": f"{_RUN}-user",
                "session_id": _SESSION,
                "role": "user",
                "content": "How long does a VPN session last?",
                "metadata": {"run_id": _RUN},
                "created_at": _BEGAN,
            }
        ],
    },
    "AgentList": {
        "agents": [
            {
                "id": "support",
                "name": "support",
                "type": "rag",
                "description": "Answers questions about IT and HR.",
                "config": {"model": "openai:gpt-5-mini", "tools": ["search_knowledge"], "retrieve": "tool"},
                "state": "active",
                "default": True,
                "model": "openai:gpt-5-mini",
                "tools": ["search_knowledge"],
                "created_at": _BEGAN,
                "updated_at": _ENDED,
            }
        ]
    },
    "ToolList": {
        "tools": [
            {
                "name": "create_ticket",
                "description": "Open a ticket.",
                "input_schema": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]},
                "risk_level": "medium",
                "effect": "write",
                "access": "write",
                "idempotent": True,
                "needs_approval": False,
                "permission": "tickets.write",
                "timeout_s": 30.0,
                "retries": 0,
                "max_output_chars": 20000,
            }
        ]
    },
    "CostList": {
        "costs": [
            {
                "scope": "user",
                "name": "emma",
                "day": "2026-03-02",
                "model": "openai:gpt-5-mini",
                "calls": 2,
                "prompt_tokens": 812,
                "completion_tokens": 61,
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "reasoning_tokens": 0,
                "cost_usd": 0.0019,
                "unpriced": 0,
                "estimated": 0,
            }
        ],
        "total_usd": 0.0019,
    },
    "DocumentBegun": {"run_id": _RUN, "status": "ready", "documents": [{"name": "vpn.md", "id": "vpn-3f2a"}]},
    "DocumentRow": _DOCUMENT,
    "DocumentList": {"documents": [_DOCUMENT], "next": None},
    "DocumentBody": {**_DOCUMENT, "text": f"# Set up the VPN\n\n{_TEXT}"},
    "EditionList": {
        "editions": [
            {"number": 2, "title": "Set up the VPN", "sha256": "2c26b46b68ff", "characters": 1204, "stored_at": _BEGAN}
        ]
    },
    "StreamTokenBody": {"token": f"qs_acme.{_RUN}.{'0' * 64}", "expires_at": _ENDED},
    "CompatProblem": {
        "error": {
            "message": "there is no agent 'gpt-5' to be the model; there are: support",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    },
    "ModelBody": _MODEL,
    "ModelList": {"object": "list", "data": [_MODEL]},
    "ChatBody": {"model": "support", "messages": [{"role": "user", "content": "How long does a VPN session last?"}]},
    "ChatCompletion": {
        "id": f"chatcmpl-{_RUN}",
        "object": "chat.completion",
        "created": 1772442847,
        "model": "support",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _COMMON["answer"]},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 812, "completion_tokens": 61, "total_tokens": 873},
        "metadata": {"run_id": _RUN},
        "quarterdeck": _CHAT,
    },
    "ResponseBody": {"model": "support", "input": "How long does a VPN session last?"},
    "ResponseObject": {
        "id": f"resp_{_RUN}",
        "object": "response",
        "created_at": 1772442847,
        "status": "completed",
        "model": "support",
        "output": [
            {
                "id": f"msg_{_RUN}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": _COMMON["answer"], "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 812, "output_tokens": 61, "total_tokens": 873},
        "metadata": {"run_id": _RUN},
        "quarterdeck": _CHAT,
    },
    "WebhookRequest": {"url": "https://crm.example/hooks/agents", "events": ["run_finished", "approval_needed"]},
    "WebhookBody": _WEBHOOK,
    "WebhookMade": {**_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    "WebhookList": {"webhooks": [_WEBHOOK]},
    "WebhookTested": {"verdict": "failed", "detail": "the receiver answered 500", "notice_id": "evt_1c9f"},
    "DeliveryBody": _DELIVERY,
    "DeliveryList": {"deliveries": [_DELIVERY]},
    "EmbeddingsBody": {"model": "embedding", "input": ["How long does a VPN session last?"]},
    "EmbeddingList": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.4, 0.88]}],
        "model": "minilm",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    },
}
