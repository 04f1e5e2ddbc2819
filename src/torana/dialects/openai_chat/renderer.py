"""Answers out, streamed: https://platform.openai.com/docs/api-reference/chat-streaming

Every chunk repeats one id and one model and carries `finish_reason: null` until its choice ends; tool calls are
counted from 0 in each choice; [DONE] follows a good end only. What stands around a piece of text is the same for
all pieces of its part, so it is built once, when the part opens.
"""

from torana.dialects.interface import Context
from torana.dialects.openai_chat.contents import DIALECT, render_media
from torana.dialects.openai_chat.failures import render_error
from torana.dialects.openai_chat.finishes import word_of
from torana.dialects.openai_chat.logprobs import render_logprobs
from torana.dialects.openai_chat.parts import render_citation
from torana.dialects.openai_chat.thoughts import FORMATS, Details, is_detailed
from torana.dialects.openai_chat.usage import render_usage
from torana.dialects.openai_chat.wire import merged, object_decoder
from torana.dialects.openai_chat.write_answer import LEGACY, shifted
from torana.errors import Error
from torana.ir import (
    Attach,
    Citation,
    Close,
    Data,
    Delta,
    End,
    Event,
    Extra,
    Finished,
    Logprob,
    Media,
    Note,
    Opaque,
    Open,
    Part,
    Progress,
    Refusal,
    Spent,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from torana.wire import json, sse

Body = dict[str, object]
DONE = sse.frame(b"[DONE]")


def _line(value: object) -> bytes:
    """JSON on one line: fields carried as they came may be pretty-printed. Strings hold no bare line ends."""
    body = json.encode(value)
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body


class _Part:
    """An open part: what stands before and after each piece of its text."""

    __slots__ = ("after", "before", "choice", "detail", "kind", "part", "quiet", "said", "start")

    def __init__(self, part: Part, choice: int, start: int) -> None:
        self.start = start  # where its text begins in the text of the choice, in code points
        self.part = part
        self.choice = choice
        self.kind = type(part)
        self.before = b""
        self.after = b""
        self.detail = b""  # of a thought that may be sealed: its head, and the text is said again in it
        self.quiet = False  # nothing of it can be said here
        self.said = False


class Renderer:
    """Events in, chunks out."""

    __slots__ = (
        "_calls", "_chars", "_context", "_details", "_ended", "_head", "_home", "_legacy", "_parts",
        "_refused", "_roles", "_tail", "_usage",
    )  # fmt: skip

    def __init__(self, context: Context = Context()) -> None:
        self._context = context
        self._head = b""
        self._tail = b',"finish_reason":null}]}\n\n'
        self._home = True
        self._parts: dict[int, _Part] = {}
        self._calls: dict[int, int] = {}  # choice -> calls opened
        self._roles: set[int] = set()
        self._details: dict[int, Details] = {}
        self._chars: dict[int, int] = {}
        self._refused: set[int] = set()
        self._legacy: set[int] = set()
        self._usage: Usage | None = None
        self._ended = False

    def render(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                out.append(self._delta(event))
            elif self._ended:
                break
            else:
                self._other(event, out)
        return b"".join(out)

    def fail(self, error: Error) -> bytes:
        """No [DONE] follows: clients take it for success."""
        self._ended = True
        return sse.frame(render_error(error))

    # ------------------------------------------------------------ events

    def _delta(self, event: Delta) -> bytes:
        open = self._parts[event.index]
        text = json.encode(event.text)
        if open.kind is Text:
            return self._text(open, event.text, text)
        if open.quiet or self._ended:
            return b""
        open.said = True
        if open.detail:
            return b"".join((open.before, b'{"reasoning":', text, b',"reasoning_content":', text,
                             b',"reasoning_details":[', open.detail, text, b"}]}", self._tail))  # fmt: skip
        if open.kind is Thinking:
            return b"".join(
                (open.before, b'{"reasoning":', text, b',"reasoning_content":', text, b"}", self._tail)
            )
        return b"".join((open.before, text, open.after))

    def _text(self, open: _Part, said: str, text: bytes) -> bytes:
        self._chars[open.choice] += len(said)
        return b"".join((open.before, text, open.after))

    def _other(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Open(index, part, choice):
                self._open(index, part, choice, out)
            case Attach():
                self._attach(event, out)
            case Close(index):
                self._close(index, out)
            case Start():
                self._start(event, out)
            case Finished():
                self._finished(event, out)
            case Spent(usage):
                self._usage = usage
            case Note(extra, choice):
                self._note(extra, choice, out)
            case End(error):
                self._end(error, out)
            case Progress() | Delta():
                pass

    def _start(self, event: Start, out: list[bytes]) -> None:
        context = self._context
        self._home = event.dialect == DIALECT
        head: Body = {
            "id": context.id or event.id,
            "object": "chat.completion.chunk",
            "created": context.created or event.created,
            "model": context.model or event.model,
        }
        if event.tier:
            head["service_tier"] = event.tier
        if event.fingerprint:
            head["system_fingerprint"] = event.fingerprint
        self._head = b"data: " + _line(head)[:-1]
        self._role(0, out)

    def _role(self, choice: int, out: list[bytes]) -> None:
        if choice not in self._roles:
            self._roles.add(choice)
            self._chars[choice] = 0
            self._details[choice] = Details()
            out.append(self._chunk(choice, b'{"role":"assistant","content":""}'))

    def _before(self, choice: int) -> bytes:
        return b'%b,"choices":[{"index":%d,"delta":' % (self._head, choice)

    def _chunk(self, choice: int, delta: bytes) -> bytes:
        return self._before(choice) + delta + self._tail

    # ------------------------------------------------------------ parts

    def _open(self, index: int, part: Part, choice: int, out: list[bytes]) -> None:
        self._role(choice, out)
        open = self._parts[index] = _Part(part, choice, self._chars[choice])
        before = self._before(choice)
        match part:
            case Text(text):
                open.before, open.after = before + b'{"content":', b"}" + self._tail
                if part.citations:
                    out.append(self._cited(part.citations, open))
            case Refusal(text):
                self._refused.add(choice)
                open.before, open.after = before + b'{"refusal":', b"}" + self._tail
            case Thinking(text):
                open.before = before
                self._open_thought(open, part, out)
            case ToolCall(kind="function" | "custom", text=text):
                self._open_call(open, part, out)
            case Media(kind="audio", text=text):
                open.before, open.after = before + b'{"audio":{"transcript":', b"}}" + self._tail
                self._open_audio(open, part, out)
            case Media(kind="image"):
                text = ""
                out.append(self._chunk(choice, _line({"images": [render_media(part)]})))
            case Data(value):
                text = ""
                out.append(self._chunk(choice, _line({"content": bytes(value).decode()})))
            case Opaque(dialect, raw) if dialect == DIALECT:
                text = ""
                out.append(self._chunk(choice, _line({"content": [raw]})))
            case _:
                text, open.quiet = "", True
        if text and not open.quiet:
            out.append(self._delta(Delta(index, text)))
        if isinstance(part, Text | Refusal | Thinking) and part.logprobs:
            out.append(self._scored(open, part.logprobs))

    def _open_thought(self, open: _Part, part: Thinking, out: list[bytes]) -> None:
        """A foreign thought may be sealed when it ends, so its text is said in the details as well."""
        sealed = part.seal is not None and part.seal.holds == "thought"
        if sealed:
            self._say_details(open, part, out)
            open.quiet = True
        elif not self._home or is_detailed(part) or part.form == "summary":
            details = Details()
            details.counts = self._details[open.choice].counts
            [head] = details.render(
                Thinking("", part.form, item=part.item, extra=part.extra), home=self._home
            )
            field = "summary" if part.form == "summary" else "text"
            head.pop(field)
            open.detail = _line(head)[:-1] + b',"%b":' % field.encode()
        if part.seal is not None and not sealed:
            self._say_details(open, part, out)

    def _say_details(self, open: _Part, part: Thinking, out: list[bytes]) -> None:
        details = self._details[open.choice].render(part, home=self._home)
        out.append(self._chunk(open.choice, _line({"reasoning_details": details})))

    def _open_call(self, open: _Part, part: ToolCall, out: list[bytes]) -> None:
        choice = open.choice
        place = self._calls.get(choice, 0)
        self._calls[choice] = place + 1
        before = self._before(choice)
        if part.extra and LEGACY in part.extra:
            self._legacy.add(choice)
            head: Body = {"function_call": {"name": part.name, "arguments": ""}}
            open.before, open.after = before + b'{"function_call":{"arguments":', b"}}" + self._tail
        elif part.kind == "custom":
            called: Body = {"name": part.name, "input": ""}
            head = {"tool_calls": [{"index": place, "id": part.id, "type": "custom", "custom": called}]}
            open.before = before + b'{"tool_calls":[{"index":%d,"custom":{"input":' % place
            open.after = b"}}]}" + self._tail
        else:
            called = {"name": part.name, "arguments": ""}
            body: Body = {"index": place, "id": part.id, "type": "function", "function": called}
            head = {"tool_calls": [merged(body, part.extra) if self._home else body]}
            open.before = before + b'{"tool_calls":[{"index":%d,"function":{"arguments":' % place
            open.after = b"}}]}" + self._tail
        if part.seal is not None and "extra_content" not in (part.extra or ()):
            head["reasoning_details"] = [Details().call(part)]
        out.append(self._chunk(choice, _line(head)))

    def _open_audio(self, open: _Part, part: Media, out: list[bytes]) -> None:
        said: Body = {"id": part.item} if part.item else {}
        if part.data:
            said["data"] = part.data
        if said:
            out.append(self._chunk(open.choice, _line({"audio": said})))

    def _attach(self, event: Attach, out: list[bytes]) -> None:
        open = self._parts[event.index]
        if event.logprobs:
            out.append(self._scored(open, event.logprobs))
        if event.citations:
            out.append(self._cited(event.citations, open))
        if event.seal is not None:
            self._seal(open, event, out)
        if open.kind is Media and (event.data or event.extra):
            said: Body = {"data": event.data} if event.data else {}
            if self._home:
                said.update(event.extra or {})
            if said:
                out.append(self._chunk(open.choice, _line({"audio": said})))

    def _seal(self, open: _Part, event: Attach, out: list[bytes]) -> None:
        """The proof follows its text, in a detail of the same place."""
        seal = event.seal
        assert seal is not None
        if isinstance(open.part, ToolCall):
            sealed = ToolCall(open.part.id, open.part.name, seal=seal)
            details: list[Body] = [Details().call(sealed)]
        elif not isinstance(open.part, Thinking):
            return
        elif seal.holds == "thought" or not open.detail:
            thought = Thinking("", open.part.form, seal, item=open.part.item)
            details = self._details[open.choice].render(thought, home=self._home)
        else:
            head = object_decoder.decode(open.detail[: open.detail.rindex(b",")] + b"}")
            detail: Body = {**head, "signature": seal.data}
            if seal.issuer in FORMATS:
                detail["format"] = FORMATS[seal.issuer]
            details = [detail]
        out.append(self._chunk(open.choice, _line({"reasoning_details": details})))

    def _scored(self, open: _Part, scores: tuple[Logprob, ...]) -> bytes:
        field = {Refusal: "refusal", Thinking: "reasoning_content"}.get(open.kind, "content")
        said = _line({field: render_logprobs(scores)})
        return b'%b{},"logprobs":%b%b' % (self._before(open.choice), said, self._tail)

    def _cited(self, citations: tuple[Citation, ...], open: _Part) -> bytes:
        """Spans count from the text's own beginning; the caller joins the texts of a choice."""
        said = [render_citation(shifted(citation, open.start), home=self._home) for citation in citations]
        return self._chunk(open.choice, _line({"annotations": said}))

    def _close(self, index: int, out: list[bytes]) -> None:
        """A call that said nothing has the empty object."""
        open = self._parts[index]
        if isinstance(open.part, ToolCall) and open.part.kind == "function" and not (open.said or open.quiet):
            out.append(b"".join((open.before, b'"{}"', open.after)))

    # ------------------------------------------------------------ the end

    def _finished(self, event: Finished, out: list[bytes]) -> None:
        choice = event.choice
        self._role(choice, out)
        if event.finish == "failed":
            return  # End brings the error
        word = word_of(event.finish, refusal=choice in self._refused, legacy=choice in self._legacy)
        matched = b',"stop_reason":' + _line(event.matched) if event.matched else b""
        out.append(b'%b{},"finish_reason":"%b"%b}]}\n\n' % (self._before(choice), word.encode(), matched))

    def _note(self, extra: Extra, choice: int, out: list[bytes]) -> None:
        if not extra or not self._home:
            return
        if choice < 0:
            said = _line(merged({"choices": []}, extra))
            out.append(b"%b,%b\n\n" % (self._head, said[1:]))
            return
        body = merged(
            {"index": choice, "delta": {}, "finish_reason": None},
            {k: v for k, v in extra.items() if k != "message"},
        )
        if "message" in extra:
            body["delta"] = extra["message"]
        out.append(b"%b,%b\n\n" % (self._head, _line({"choices": [body]})[1:]))

    def _end(self, error: Error | None, out: list[bytes]) -> None:
        self._ended = True
        if error is not None:
            out.append(sse.frame(render_error(error)))
            return
        if self._usage is not None and self._context.want_usage:
            usage = render_usage(self._usage, home=self._home, cost=self._context.cost)
            said = _line({"choices": [], "usage": usage})
            out.append(b"%b,%b\n\n" % (self._head, said[1:]))
        out.append(DONE)
