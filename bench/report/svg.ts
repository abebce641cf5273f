/** The report as a picture: for each case a bar of the median wall time, a line from min to max. Pure. */
import type { CaseResult, ContenderResult, Report } from '../types.ts';

const width = 900;
const labelWidth = 330;
const valueWidth = 90;
const barHeight = 16;
const rowHeight = 22;
const titleHeight = 34;

export function svg(report: Report): string {
  const parts: string[] = [];
  let top = titleHeight;
  for (const item of report.cases) {
    parts.push(caseBars(item, top));
    top += titleHeight + item.contenders.length * rowHeight;
  }
  const heading = `wall time in seconds: median, and smallest to largest of ${report.rounds} rounds; commit ${report.commit}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top + 8}" font-family="sans-serif" font-size="12">`,
    '<title>Wall time of each case, beside the other tools</title>',
    `<rect width="${width}" height="${top + 8}" fill="#fff"/>`,
    `<text x="8" y="20" fill="#555">${xmlText(heading)}</text>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function caseBars({ title, contenders }: CaseResult, top: number): string {
  const longest = Math.max(...contenders.map(({ summary }) => summary.wallSeconds.max), 1e-9);
  const scale = (width - labelWidth - valueWidth) / longest;
  const head = `<text x="8" y="${top + 22}" font-weight="bold">${xmlText(title)}</text>`;
  const bars = contenders.map((contender, index) =>
    bar(contender, top + titleHeight + index * rowHeight, scale),
  );
  return [head, ...bars].join('\n');
}

function bar({ title, isOurs, summary }: ContenderResult, y: number, scale: number): string {
  const { median, min, max } = summary.wallSeconds;
  const [length, from, to] = [median, min, max].map((value) => value * scale) as [
    number,
    number,
    number,
  ];
  const middle = y + barHeight / 2;
  const line = `x1="${at(from)}" x2="${at(to)}" y1="${middle}" y2="${middle}"`;
  return [
    `<text x="${labelWidth - 8}" y="${y + 12}" text-anchor="end">${xmlText(title.replaceAll('`', ''))}</text>`,
    `<rect x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" fill="${isOurs ? '#2166ac' : '#b8b8b8'}"/>`,
    `<line ${line} stroke="#222"/>`,
    `<text x="${at(Math.max(length, to) + 6)}" y="${y + 12}">${median.toFixed(median < 0.1 ? 3 : 2)}</text>`,
  ].join('\n');
}

function at(offset: number): string {
  return (labelWidth + offset).toFixed(1);
}

function xmlText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
