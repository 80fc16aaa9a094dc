import { describe, expect, test } from 'vitest'
import { runPage } from '../../../src/tools/explore/page.ts'
import type { Moment } from '../../../src/tools/explore/schedule.ts'
import { timeline } from '../../../src/tools/explore/timeline.ts'

const at = (process: string, choice: string, flag: number, register: number, preempts = false): Moment => ({
  process,
  choice,
  preempts,
  wrote: register === 0 ? ['cpu0.msr.33', 'vcpu0.<loaded>'] : [],
  values: { cpu0: { task: 'vcpu0', flag, 'TEST_CTRL[29]': register }, cpu1: { task: '<b>', flag: 0, 'TEST_CTRL[29]': 1 } },
})
const moments = [at('cpu0', 'go on', 0, 1), at('cpu1', 'run vcpu1', 0, 1, true), at('cpu0', 'go on', 0, 0)]
const processes = ['cpu0', 'cpu1', 'clock']
const schedule = {
  scenario: 'split-lock',
  variant: 'no-restore',
  kernel: 'proposal:sld-virt-v8',
  invariants: ['own-xfd'],
  steps: moments.map(({ process, choice }) => ({ process, choice })),
}
const variant = { name: 'no-restore', mistake: 'vcpu_put restores nothing', source: 'SLD-58' }
const violation = { id: 'own-xfd', invariant: 'what has to hold', because: 'flag = 0 & register = 0' }

describe('a run as text', () => {
  test('a lane for each processor, the values under their names, and whose they are above', () => {
    expect(timeline(moments, processes)).toEqual([
      '                          cpu0                        cpu1',
      'step  cpu0   cpu1         task   flag  TEST_CTRL[29]  task  flag  TEST_CTRL[29]',
      '   1  go on  |            vcpu0  0     1              <b>   0     1',
      '   2  |      run vcpu1 *  vcpu0  0     1              <b>   0     1',
      '   3  go on  |            vcpu0  0     0              <b>   0     1',
      '      * the task that was there is preempted',
    ])
  })

  test('the clock has a lane when it does something; a group wider than its columns keeps the next one straight', () => {
    const wide = {
      process: 'clock',
      choice: 'timer',
      preempts: false,
      wrote: [],
      values: { 'a long name': { x: 1 }, cpu0: { y: 2 } },
    }
    expect(timeline([wide], processes)).toEqual([
      '                         a long name  cpu0',
      'step  cpu0  cpu1  clock  x            y',
      '   1  |     |     timer  1            2',
    ])
  })

  test('a run of no steps has no lines', () => {
    expect(timeline([], processes)).toEqual([])
  })
})

describe('a run as a page', () => {
  const page = runPage({ schedule, title: 'two guests', variant, violation, moments, processes })

  test('says which scenario, mistake, kernel and invariant, and what was violated', () => {
    for (const text of [
      'split-lock with no-restore',
      'two guests',
      'vcpu_put restores nothing',
      'proposal:sld-virt-v8',
      'own-xfd',
    ])
      expect(page).toContain(text)
    expect(page).toContain('flag = 0 &#38; register = 0')
    expect(page).toContain('what has to hold')
  })

  test('a row for each step, each value in a cell of its own, and only what changed marked', () => {
    const body = /<tbody>\n([\s\S]*)\n<\/tbody>/.exec(page)![1].split('\n')
    expect(body).toHaveLength(moments.length)
    for (const row of body) expect(row.match(/<td class="value/g)).toHaveLength(6)
    expect(body.map((row) => row.match(/ changed"/g)?.length ?? 0)).toEqual([0, 0, 1])
    expect(body[2]).toContain('<td class="value changed">0</td>')
    expect(body[2]).toContain('cpu0.msr.33, vcpu0.&#60;loaded&#62;</td></tr>')
    expect(body[1]).toContain('run vcpu1 <small>preempts</small>')
  })

  test('loads nothing, runs nothing, and lets no text be markup', () => {
    expect(page).not.toMatch(/src=|href=|<script|url\(|@import|<b>| on\w+=/)
    expect(page).toContain('&#60;b&#62;')
  })

  test('is readable on dark screens, and opens and closes every element', () => {
    expect(page).toMatch(/color-scheme: light dark/)
    expect(page).toMatch(/prefers-color-scheme: dark/)
    for (const name of ['table', 'thead', 'tbody', 'tr', 'td', 'dl', 'dd', 'dt', 'details', 'pre', 'div', 'p', 'code', 'small'])
      expect([name, page.match(new RegExp(`<${name}[ >]`, 'g'))?.length]).toEqual([
        name,
        page.match(new RegExp(`</${name}>`, 'g'))?.length,
      ])
  })

  test('says how to make the run again, and holds the file for that', () => {
    expect(page).toContain('worldswitch explore --replay schedule.json')
    expect(page).toContain(
      'worldswitch explore split-lock --kernel proposal:sld-virt-v8 --variant no-restore --invariant own-xfd',
    )
    const [, file] = /<pre>([\s\S]*)<\/pre>/.exec(page)!
    const text = file.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))
    expect(JSON.parse(text)).toEqual({ format: 'worldswitch schedule', version: 1, ...schedule })
  })

  test('without a violation it says so', () => {
    const calm = runPage({ schedule, title: 't', variant: null, violation: null, moments: [], processes })
    expect(calm).toContain('none is violated')
  })
})
