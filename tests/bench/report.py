"""report: the table, the JSON and the plot."""

import datetime
import json
import os
import platform
import re
from xml.sax.saxutils import escape

import pairs
from rows import OURS

PLOTTED = ["channels.rate", "requests.rate", "requests.server_us", "bulk4.up.cpu_s",
           "memory.server_kib", "handshakes.full_us", "handshakes.fresh_us",
           "handshakes.resumed_us"]
QUIET = 0.5  # load average above which something else was running
# Told apart also by their order and labels.
COLOURS = {OURS: "#c8501e"}
COLOUR = "#7f93a8"


def machine():
    model = "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as text:
            found = re.search(r"^model name\s*:\s*(.+)$", text.read(), re.M)
            model = found.group(1) if found else model
    except OSError:
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": os.cpu_count(), "memory_gb": round(memory / 1e9, 1),
            "kernel": "%s %s" % (platform.system(), platform.release()),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "load_before": round(os.getloadavg()[0], 2)}


def stolen():
    """(CPU time that the hypervisor gave to others, all CPU time) since boot, in ticks."""
    try:
        with open("/proc/stat", encoding="ascii") as stat:
            ticks = [int(word) for word in stat.readline().split()[1:9]]
        return ticks[7], sum(ticks)
    except (OSError, ValueError, IndexError):
        return 0, 0


def describe(about):
    """The machine and the programs, in lines."""
    here = about["machine"]
    yield "%s, %d cores, %.0f GB, %s; %s; load average before: %.2f, CPU time stolen: %.1f %%" % (
        here["cpu"], here["cores"], here["memory_gb"], here["kernel"], here["date"],
        here["load_before"], here.get("stolen_percent", 0))
    if here["load_before"] > QUIET:
        yield "The machine was NOT quiet: these figures are no measurement."
    yield "; ".join("%s %s" % pair for pair in about["versions"].items())
    yield about["settings"]
    yield from about["notes"]


def verdict(target):
    by = "" if target["by"] is None or target["by"] < 0 else " (%.2f of it)" % target["by"]
    return "%s: %s%s" % (target["text"], "met" if target["met"] else "MISSED", by)


def table(rows, peers):
    """GitHub's kind of table. A cell: median (min..max)."""
    head = ["", "unit"] + [pairs.PEERS[peer].title for peer in peers] + \
        ["ours / best peer", "target"]
    lines = [head, ["---"] * len(head)]
    for found in rows:
        row, line = found["row"], []
        line += [row.title, row.unit]
        for peer in peers:
            value = found["peers"].get(peer)
            if not value:
                line.append("-")
                continue
            cell = row.number(value["median"])
            if len(value["samples"]) > 1 and value["min"] != value["max"]:
                cell += " (%s..%s)" % (row.number(value["min"]), row.number(value["max"]))
            line.append(cell)
        line.append("-" if found["ratio"] is None else "%.2f × %s" % (
            found["ratio"], pairs.PEERS[found["best"]].title))
        line.append("; ".join(verdict(one) for one in found["targets"]) or "-")
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths))
                     + " |" for line in lines)


def as_json(rows, about):
    out = dict(about, rows={})
    for found in rows:
        row = found["row"]
        out["rows"][row.key] = {"title": row.title, "unit": row.unit, "better": row.better,
                                "peers": found["peers"], "best_peer": found["best"],
                                "ours_to_best_peer": found["ratio"],
                                "targets": found["targets"]}
    return json.dumps(out, indent=1, ensure_ascii=False) + "\n"


def panel(found, peers, x, y, width):
    """One row of the table as bars; whiskers from min to max, a mark where the target is."""
    row, parts = found["row"], []
    shown = [peer for peer in peers if peer in found["peers"]]
    bounds = [one["bound"] for one in found["targets"]]
    top = max([found["peers"][peer]["max"] for peer in shown] + bounds) or 1
    label, bar = 92, width - 92 - 66
    better = {"high": "more is better", "low": "less is better"}.get(row.better, "")
    parts.append('<text x="%d" y="%d" class="t">%s</text>' % (x, y, escape(row.title)))
    parts.append('<text x="%d" y="%d" class="u">%s</text>' % (
        x, y + 15, escape("%s; %s" % (row.unit, better))))
    at = y + 26
    begin = at
    for peer in shown:
        value = found["peers"][peer]
        length = [max(0.0, value[key] / top * bar) for key in ("min", "median", "max")]
        parts.append('<text x="%d" y="%d" class="l" text-anchor="end">%s</text>' % (
            x + label - 6, at + 12, escape(pairs.PEERS[peer].title)))
        parts.append('<rect x="%d" y="%d" width="%.1f" height="15" fill="%s"/>' % (
            x + label, at, max(length[1], 0.5), COLOURS.get(peer, COLOUR)))
        parts.append('<path d="M%.1f %.1fH%.1f" class="w"/>' % (
            x + label + length[0], at + 7.5, x + label + length[2]))
        parts.append('<text x="%.1f" y="%d" class="l">%s</text>' % (
            x + label + max(length) + 5, at + 12, escape(row.number(value["median"]))))
        at += 20
    for one in found["targets"]:
        parts.append('<path d="M%.1f %dV%d" class="g"><title>%s</title></path>' % (
            x + label + one["bound"] / top * bar, begin - 3, at - 1, escape(verdict(one))))
    return "\n".join(parts), at - y


def svg(rows, peers, about):
    """Bars for the rows that say most; text and shapes only, no script, no font of its own."""
    chosen = [found for key in PLOTTED for found in rows if found["row"].key == key]
    width, gap, parts, y = 480, 24, [], 64
    for i in range(0, len(chosen), 2):
        tallest = 0
        for column, found in enumerate(chosen[i:i + 2]):
            part, height = panel(found, peers, gap + column * (width + gap), y, width)
            parts.append(part)
            tallest = max(tallest, height)
        y += tallest + gap
    here = about["machine"]
    foot = "%s, %d cores, %s, %s. Medians; the thin line is min to max, the dashed one the " \
           "target." % (here["cpu"], here["cores"], here["kernel"], here["date"])
    total = 2 * width + 3 * gap
    return """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif">
<style>.h{font-size:18px;font-weight:bold}.t{font-size:14px;font-weight:bold}.u{font-size:11px;fill:#555}.l{font-size:12px}.w{stroke:#222;stroke-width:1.5}.g{stroke:#1a7f37;stroke-width:1.5;stroke-dasharray:4 2;fill:none}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="%d" y="30" class="h">Sallyport beside its peers</text>
%s
<text x="%d" y="%d" class="u">%s</text>
</svg>
""" % (total, y + 24, gap, "\n".join(parts), gap, y + 8, escape(foot))


def write(folder, rows, peers, about):
    os.makedirs(folder, exist_ok=True)
    for name, text in (("results.json", as_json(rows, about)),
                       ("results.svg", svg(rows, peers, about)),
                       ("results.md", "\n\n".join(describe(about)) + "\n\n" + table(rows, peers)
                        + "\n")):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
            out.write(text)
