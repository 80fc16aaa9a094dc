import { encodeSchedule, type Moment, type Schedule } from './schedule.ts'
import type { Violation } from './system.ts'
import { columnsOf, groupsOf, lanesOf, valueAt } from './timeline.ts'

/** What a page about a run tells. */
export interface RunFacts {
  readonly schedule: Schedule
  /** The scenario in a line. */
  readonly title: string
  /** The mistake that was put back. */
  readonly variant: { readonly name: string; readonly mistake: string; readonly source: string } | null
  /** Null: the run broke nothing. */
  readonly violation: Violation | null
  readonly moments: readonly Moment[]
  readonly processes: readonly string[]
}

const html = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const code = (text: string): string => `<code>${html(text)}</code>`

/** A run as a page of its own: no script, nothing from elsewhere, for light and dark screens. */
export function runPage(facts: RunFacts): string {
  const { schedule, variant, violation } = facts
  const heading = `${schedule.scenario}${variant === null ? '' : ` with ${variant.name}`}`
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${html(`${heading}: ${violation?.id ?? 'nothing is violated'}`)}</title>
<style>${STYLE}</style>
<h1>${html(heading)}</h1>
${summary(facts)}
${table(facts)}
<p>Shaded: the step's processor; <span class="preempts">this shade</span> and “preempts”: the task that was there could have gone on.
<b class="changed">Changed</b>: another value than after the step before. “wrote”: the kernel's and KVM's data that the step wrote, the same value or another. A step is what one processor does between two places where it may lose its task.</p>
${again(schedule)}
</html>
`
}

function summary({ schedule, title, variant, violation, moments }: RunFacts): string {
  const preemptions = moments.filter(({ preempts }) => preempts).length
  const rows: [string, string][] = [
    ['scenario', `${code(schedule.scenario)} ${html(title)}`],
    ...(variant === null
      ? []
      : [
          ['mistake', `${code(variant.name)} ${html(variant.mistake)} <small>(${html(variant.source)})</small>`] as [
            string,
            string,
          ],
        ]),
    ['kernel', code(schedule.kernel)],
    ['invariant', violation === null ? 'none is violated' : `${code(violation.id)} ${html(violation.invariant)}`],
    ...(violation === null
      ? []
      : [['violated', `<strong class="broken">${html(violation.because)}</strong>`] as [string, string]]),
    ['run', `${moments.length} steps, ${preemptions} of them preemptions`],
  ]
  return `<dl>\n${rows.map(([name, text]) => `<dt>${name}</dt><dd>${text}</dd>`).join('\n')}\n</dl>`
}

function table({ moments, processes, violation }: RunFacts): string {
  const lanes = lanesOf(moments, processes)
  const columns = columnsOf(moments)
  const groups = groupsOf(columns)
  const first = new Set(groups.map(({ from }) => from))
  const edge = (x: number): string => (first.has(x) ? ' edge' : '')
  const heading = (name: string, x: number): string => `<th${first.has(x) ? ' class="edge"' : ''} scope="col">${html(name)}</th>`
  const head = [
    '<th rowspan="2" scope="col">step</th>',
    ...lanes.map((lane) => `<th rowspan="2" scope="col">${html(lane)}</th>`),
    ...groups.map(({ of, from, to }) => `<th colspan="${to - from}" class="edge" scope="colgroup">${html(of)}</th>`),
    '<th rowspan="2" class="edge" scope="col">wrote</th>',
  ]
  const names = columns.map(({ name }, x) => heading(name, x))
  const rows = moments.map((moment, i) => {
    const did = lanes.map((lane) => {
      if (lane !== moment.process) return '<td class="lane"></td>'
      return `<td class="lane ${moment.preempts ? 'preempts' : 'on'}">${html(moment.choice)}${moment.preempts ? ' <small>preempts</small>' : ''}</td>`
    })
    const values = columns.map((column, x) => {
      const value = valueAt(moment, column)
      const isNew = i > 0 && value !== valueAt(moments[i - 1], column)
      return `<td class="value${edge(x)}${isNew ? ' changed' : ''}">${html(value)}</td>`
    })
    const isLast = violation !== null && i === moments.length - 1
    return `<tr${isLast ? ' class="last"' : ''}><th scope="row">${i + 1}</th>${did.join('')}${values.join('')}<td class="edge wrote">${html(moment.wrote.join(', '))}</td></tr>`
  })
  return `<div class="wide"><table>
<thead><tr>${head.join('')}</tr>
<tr>${names.join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table></div>`
}

/** How to get there again: with the file below, or by the search. */
function again(schedule: Schedule): string {
  const { scenario, variant, kernel, invariants } = schedule
  const search = [
    `worldswitch explore ${scenario} --kernel ${kernel}`,
    ...(variant === null ? [] : [`--variant ${variant}`]),
    ...(invariants ?? []).map((name) => `--invariant ${name}`),
    '--save schedule.json',
  ]
  return `<h2>The same run again</h2>
<p>${code('worldswitch explore --replay schedule.json')} makes it again, step by step. ${code(search.join(' '))} finds it and writes that file, which is:</p>
<details><summary>schedule.json</summary><pre>${html(encodeSchedule(schedule))}</pre></details>`
}

const STYLE = `
:root { color-scheme: light dark; --line: #bbb; --on: #dbe9ff; --preempts: #ffdcb8; --changed: #fff0a8; --broken: #b00020; --last: #b00020 }
@media (prefers-color-scheme: dark) {
  :root { --line: #555; --on: #1d3a63; --preempts: #6b3d0c; --changed: #5a4c00; --broken: #ff8a8a; --last: #ff8a8a }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; max-width: 90rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dt { font-weight: 600 } dd { margin: 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse } th, td { border: 1px solid var(--line); padding: .2rem .6rem; text-align: left; white-space: nowrap }
.edge { border-left: 3px double var(--line) } .value, .wrote { font-family: ui-monospace, monospace }
.wrote { white-space: normal; min-width: 24rem; font-size: .85em }
.on { background: var(--on) } .preempts { background: var(--preempts) } .changed { background: var(--changed); font-weight: 700 }
.broken { color: var(--broken) } .last > * { border-bottom: 3px solid var(--last) }
pre { overflow-x: auto }
`
