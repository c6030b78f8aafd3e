"""The report's style sheet: light and dark, screen and paper."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1b2330; --faint: #5f6b7a; --line: #dfe4ea;
  --good: #0f7b4f; --good-soft: #e0f4ea; --bad: #b3261e; --bad-soft: #fbe6e4;
  --wait: #8a5a00; --wait-soft: #fcf0d8; --accent: #2457c5; --grey: #7b8794;
  --fused: #2457c5; --unfused: #c2570c; --folded: #7a4cc2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --ink: #e6eaf0; --faint: #98a4b3; --line: #2d3641;
    --good: #57d39b; --good-soft: #12382a; --bad: #ff8a80; --bad-soft: #45201d;
    --wait: #f2c14e; --wait-soft: #3c3113; --accent: #8ab0ff; --grey: #8b97a5;
    --fused: #8ab0ff; --unfused: #f49a5b; --folded: #b99bf0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 0 0 4px; }
h3 { font-size: 15px; margin: 24px 0 8px; }
p { margin: 0 0 12px; max-width: 76ch; }
.lead, .note { color: var(--faint); }
.note { font-size: 13px; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 24px; margin-top: 20px;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 14px;
  margin-top: 22px; }
.tile { background: var(--card); border: 1px solid var(--line); border-top: 3px solid var(--grey);
  border-radius: 10px; padding: 14px 16px; }
.tile.good { border-top-color: var(--good); }
.tile.bad { border-top-color: var(--bad); }
.tile.wait { border-top-color: var(--wait); }
.tile .name { color: var(--faint); font-size: 12px; text-transform: uppercase;
  letter-spacing: 0.06em; }
.tile .value { font-size: 24px; font-weight: 650; margin: 2px 0; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.tile .detail { font-size: 13px; color: var(--faint); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 10px 0 4px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th, td { text-align: left; padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--faint); font-weight: 600; font-size: 12.5px; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
code.whole { white-space: nowrap; }
.lines { white-space: pre-line; }
td.wide { overflow-wrap: anywhere; min-width: 14em; }
code { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
.badge { display: inline-block; border-radius: 999px; padding: 1px 9px; font-size: 12px;
  font-weight: 600; white-space: nowrap; background: var(--line); color: var(--ink); }
.badge.good { background: var(--good-soft); color: var(--good); }
.badge.bad { background: var(--bad-soft); color: var(--bad); }
.badge.wait { background: var(--wait-soft); color: var(--wait); }
details { margin-top: 10px; }
summary { cursor: pointer; color: var(--accent); font-size: 13.5px; }
ul.notes { margin: 10px 0 0; padding-left: 20px; color: var(--faint); font-size: 13.5px; }
ul.warnings { margin: 10px 0 0; padding-left: 20px; color: var(--wait); font-size: 13.5px; }
.plot svg { width: 100%; height: auto; display: block; }
.plot text { fill: var(--ink); font-size: 12px; font-family: inherit; }
.plot text.faint { fill: var(--faint); font-size: 11px; }
.plot text.number { font-weight: 600; }
.plot .axis text { fill: var(--faint); font-size: 11px; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .unity { stroke: var(--faint); stroke-width: 1.5; stroke-dasharray: 4 3; }
.plot .strip { --tone: var(--grey); }
.plot .strip.fused { --tone: var(--fused); }
.plot .strip.unfused { --tone: var(--unfused); }
.plot .strip.unfused-folded { --tone: var(--folded); }
.plot circle { fill: var(--tone); fill-opacity: 0.5; }
.plot .band { fill: var(--tone); fill-opacity: 0.14; }
.plot .median { stroke: var(--tone); stroke-width: 2.5; }
.plot .forest { --tone: var(--grey); }
.plot .forest.good { --tone: var(--good); }
.plot .forest.bad { --tone: var(--bad); }
.plot .forest rect { fill: var(--tone); }
.plot .bars .first { fill: var(--grey); fill-opacity: 0.55; }
.plot .bars .last { fill: var(--fused); }
.plot .interval { stroke: var(--tone); stroke-width: 2; }
footer { color: var(--faint); font-size: 12.5px; margin-top: 24px; }
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --faint: #444;
    --line: #ccc; --good: #0f7b4f; --good-soft: #e0f4ea; --bad: #b3261e; --bad-soft: #fbe6e4;
    --wait: #8a5a00; --wait-soft: #fcf0d8; --accent: #2457c5; --grey: #7b8794;
    --fused: #2457c5; --unfused: #c2570c; --folded: #7a4cc2; }
  body { font-size: 11pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  section, .tile { border-radius: 0; }
  h2, h3, tr, .plot, .tile { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
}
"""
