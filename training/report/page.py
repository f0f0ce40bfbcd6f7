"""The frame and the style of our pages. Nothing is loaded from anywhere, no script runs."""

from __future__ import annotations

from string import Template

# What the browser is told to refuse, should a name ever slip through as markup.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
PAGE = Template(
    f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{POLICY}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">parquet2vec · $about</p>
<section class="verdict $kind" aria-label="Verdict">
<h1>$headline</h1>
<p>$sentences</p>
</section>
<dl class="tiles">$tiles</dl>
</header>
<div class="pictures">
<div>
$left
</div>
<div>
$right
</div>
</div>
$tables
<footer>$footer</footer>
</main>
</body>
</html>
"""
)

FIGURE = Template(
    "<figure><figcaption><h2>$title</h2><p>$words</p></figcaption>$picture</figure>\n"
)
TILE = Template('<div><dt>$name</dt><dd>$value</dd><dd class="aside">$aside</dd></div>')
SECTION = Template('<section class="card"><h2>$title</h2><p>$words</p>$body</section>\n')

STYLE = """
:root{--page:#f5f6f8;--card:#fff;--ink:#15191f;--soft:#5a6472;--hair:#e3e7ec;--grid:#edf0f3;
--embedding:#0b7a75;--pca:#8894a5;--prepared:#b3bdca;--random:#d8dee6;--raw:#c98a2b;
--good:#0b7a75;--fair:#8a6d1a;--bad:#b3443a;
--k0:#2f7fc1;--k1:#e0662e;--k2:#2f9e63;--k3:#c23b6e;--k4:#8a5cc9;--k5:#a8801a;--k6:#16989e;
--k7:#7a8798;--k8:#d48ab4;--k9:#6d8f1f;--halo:#fff}
@media (prefers-color-scheme:dark){:root{--page:#101317;--card:#181c22;--ink:#e8ebef;--soft:#9aa5b3;
--hair:#2a3038;--grid:#242a32;--embedding:#2fb8ae;--pca:#7d8a9c;--prepared:#5a6677;--random:#3c4653;
--raw:#d79a3f;--good:#2fb8ae;--fair:#d3b04e;--bad:#e5786d;
--k0:#5aa5e6;--k1:#f08a57;--k2:#52bf86;--k3:#e5709b;--k4:#ab86e3;--k5:#cfa93f;--k6:#3fbcc2;
--k7:#9aa7b8;--k8:#e6a9cb;--k9:#9dbf4b;--halo:#181c22}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:1360px;margin:0 auto;padding:28px 24px 40px}
h1{font-size:27px;line-height:1.25;margin:0 0 8px;letter-spacing:-.01em;text-wrap:balance}
h2{font-size:16px;margin:0}
p{margin:0}
.eyebrow{color:var(--soft);font-size:13px;margin:0 0 10px}
.verdict{background:var(--card);border:1px solid var(--hair);border-left:6px solid var(--fair);
border-radius:10px;padding:20px 24px}
.verdict p{color:var(--soft);max-width:100ch}
.verdict.embedding{border-left-color:var(--good)}
.verdict.pca_is_better,.verdict.raw_is_better{border-left-color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(180px,1fr));gap:14px;margin:16px 0}
.tiles div{background:var(--card);border:1px solid var(--hair);border-radius:10px;padding:14px 18px}
.tiles dt{color:var(--soft);font-size:13px}
.tiles dd{margin:2px 0 0;font-size:25px;font-weight:650;font-variant-numeric:tabular-nums}
.tiles dd.aside{font-size:13px;font-weight:400;color:var(--soft)}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(560px,100%),1fr));gap:16px}
.pictures>div{display:grid;gap:16px;align-content:start;min-width:0}
figure,.card{background:var(--card);border:1px solid var(--hair);border-radius:10px;
padding:18px 20px;margin:0}
figcaption p,.card>p{color:var(--soft);font-size:13px;margin:2px 0 12px}
.card{margin-top:16px;overflow-x:auto}
svg{display:block;width:100%;height:auto;font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,
"Liberation Sans",Arial,sans-serif;fill:var(--ink)}
.tick{fill:var(--soft);font-size:11.5px}.axis{fill:var(--soft);font-size:12px}
.group{font-weight:650;font-size:13px}.value{font-variant-numeric:tabular-nums}
.strong{font-weight:650}
.grid{stroke:var(--grid);stroke-width:1}
.whisker{stroke:var(--ink);stroke-width:1.3;opacity:.75}
.mark{stroke:var(--ink);stroke-width:2.4}
.limit{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:4 4}
.c-embedding{fill:var(--embedding)}.c-pca{fill:var(--pca)}.c-prepared{fill:var(--prepared)}
.c-random{fill:var(--random)}.c-raw{fill:var(--raw)}
.curve{fill:none;stroke-width:2.2;stroke-linejoin:round}
.thin{stroke-width:1.2;opacity:.55}
.dots{fill:none;stroke-width:5;stroke-linecap:round;stroke-opacity:.62}
.centre{font-weight:700;font-size:15px;paint-order:stroke;stroke:var(--halo);stroke-width:4px}
.k0{fill:var(--k0)}.k1{fill:var(--k1)}.k2{fill:var(--k2)}.k3{fill:var(--k3)}.k4{fill:var(--k4)}
.k5{fill:var(--k5)}.k6{fill:var(--k6)}.k7{fill:var(--k7)}.k8{fill:var(--k8)}.k9{fill:var(--k9)}
.s0{stroke:var(--k0)}.s1{stroke:var(--k1)}.s2{stroke:var(--k2)}.s3{stroke:var(--k3)}
.s4{stroke:var(--k4)}.s5{stroke:var(--k5)}.s6{stroke:var(--k6)}.s7{stroke:var(--k7)}
.s8{stroke:var(--k8)}.s9{stroke:var(--k9)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13.5px}
th,td{padding:6px 9px;text-align:right;border-bottom:1px solid var(--hair);white-space:nowrap}
th{color:var(--soft);font-weight:500;font-size:13px}
th:first-child,td:first-child,td.words,th.words{text-align:left}
td.words{white-space:normal}
tr.own td{font-weight:650}
tbody tr:last-child td{border-bottom:0}
footer{color:var(--soft);font-size:13px;margin-top:20px}
@media print{body{background:#fff}figure,.card,.verdict{break-inside:avoid}}
"""
