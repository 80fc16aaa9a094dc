import type { Moment } from './schedule.ts'

/** A run as text: a lane for each processor, one step a line, the values after it. */
export function timeline(moments: readonly Moment[], processes: readonly string[]): string[] {
  const lanes = processes.filter((process) => moments.some((moment) => moment.process === process) || process.startsWith('cpu'))
  const width = Math.max(14, ...moments.map(({ choice }) => choice.length + 2))
  const head = `${'step'.padStart(4)}  ${lanes.map((lane) => lane.padEnd(width)).join('')}after it`
  return [
    head,
    ...moments.map(({ process, choice, preempts, values }, i) => {
      const cells = lanes.map((lane) => (lane === process ? `${choice}${preempts ? ' *' : ''}` : '|').padEnd(width))
      return `${String(i + 1).padStart(4)}  ${cells.join('')}${values}`
    }),
    ...(moments.some(({ preempts }) => preempts) ? ['      * the task that was there is preempted'] : []),
  ]
}

const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

/** The same as a page of its own: no script, nothing from elsewhere. */
export function timelinePage(title: string, because: string, moments: readonly Moment[], processes: readonly string[]): string {
  const rows = moments.map(({ process, choice, preempts, values }, i) => {
    const cells = processes.map((lane) =>
      lane === process ? `<td class="${preempts ? 'on preempts' : 'on'}">${escapeHtml(choice)}</td>` : '<td></td>',
    )
    return `<tr><td>${i + 1}</td>${cells.join('')}<td><code>${escapeHtml(values)}</code></td></tr>`
  })
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; max-width: 80rem }
table { border-collapse: collapse } th, td { border: 1px solid #ccc; padding: .25rem .6rem; text-align: left; vertical-align: top }
.on { background: #e4efff } .preempts { background: #ffe2c8 } .broken { background: #ffd9d9 }
</style>
<h1>${escapeHtml(title)}</h1>
<p class="broken">${escapeHtml(because)}</p>
<table><tr><th>step</th>${processes.map((name) => `<th>${escapeHtml(name)}</th>`).join('')}<th>after it</th></tr>
${rows.join('\n')}
</table>
<p>Shaded: the step's processor; orange: the task that was there is preempted.</p>
</html>
`
}
