import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { codeGraph } from '../../scripts/spin/code-graph.ts'
import { asObject, type Comparison, graphsAgree, tableHead, tableRow, verdictsAgree } from '../../scripts/spin/comparison.ts'
import { parsePanOutput } from '../../scripts/spin/pan-output.ts'
import { buildScenario, scenarioByName } from '../../src/tools/explore/scenarios/index.ts'
import { icedModule } from '../machine/bare-host.ts'

/** Output of pan made by SPIN 6.5.2 from bench/spin/split-lock.pml. */
const recorded = (name: string): string => readFileSync(`test/fixtures/spin/${name}.txt`, 'utf8')

describe("what SPIN's verifier prints is read", () => {
  test('no error in a complete search: it holds', () => {
    expect(parsePanOutput(recorded('holds'))).toEqual({
      verdict: 'holds',
      assertion: null,
      steps: null,
      states: 110,
      transitions: 193,
    })
  })
  test('a violated assertion, with its name and the steps that lead there', () => {
    expect(parsePanOutput(recorded('violated'))).toMatchObject({
      verdict: 'violated',
      assertion: 'own_split_lock_setting',
      steps: 11,
      states: 404,
    })
  })
  test('a search that a limit cut short decides nothing', () => {
    expect(parsePanOutput(recorded('incomplete')).verdict).toBe('undecided')
  })
  test('another error is one of the model, no verdict', () => {
    expect(() => parsePanOutput(recorded('invalid-end'))).toThrow(/invalid end state/)
  })
  test('output without a summary is refused', () => {
    expect(() => parsePanOutput('Segmentation fault\n')).toThrow(/Segmentation fault/)
  })
})

describe('the model for SPIN and the code', () => {
  const scenario = scenarioByName('split-lock')
  const code = (variant?: string, mostStates = 10_000) =>
    codeGraph(
      buildScenario(scenario, { decoder: icedModule(), ...(variant === undefined ? {} : { variant }) }),
      variant ? 1 : 0,
      mostStates,
    )

  test('the code has as many states and transitions as SPIN counted in the model', () => {
    const { states, transitions } = parsePanOutput(recorded('holds'))
    expect(code()).toEqual({ states, transitions })
  })
  test('a mistake changes the code as it changes the model', () => {
    const { states, transitions } = parsePanOutput(recorded('whole-graph'))
    expect(code('loaded-tested-preemptibly')).toEqual({ states, transitions })
  })
  test('a graph larger than expected is not walked to its end', () => {
    expect(code('loaded-tested-preemptibly', 50).states).toBeLessThan(200)
  })
})

describe('a row of the comparison', () => {
  const graph = { states: 1196, transitions: 2391 }
  const row = {
    variant: 'loaded-tested-preemptibly',
    spin: { ...parsePanOutput(recorded('violated')), bound: 1, graph, buildSeconds: 3, panSeconds: 0.05 },
    explore: {
      verdict: 'violated',
      bound: 1,
      executions: 5000,
      steps: 11,
      seconds: 0.5,
      invariantId: 'own-split-lock-setting',
    },
    code: graph,
  } satisfies Comparison

  test('agrees when verdict and preemptions are the same', () => {
    expect(verdictsAgree(row)).toBe(true)
    expect(verdictsAgree({ ...row, explore: { ...row.explore, verdict: 'holds' } })).toBe(false)
    expect(verdictsAgree({ ...row, explore: { ...row.explore, bound: 0 } })).toBe(false)
  })
  test('says where verdicts or graphs differ', () => {
    expect(tableRow(row)).toHaveLength(tableHead().length)
    expect(tableRow({ ...row, spin: { ...row.spin, verdict: 'undecided' } })).toMatch(/ {2}DIFFER$/)
    const other = { ...row, code: { ...graph, transitions: 2392 } }
    expect(graphsAgree(other)).toBe(false)
    expect(tableRow(other)).toMatch(/NOT THE SAME GRAPH$/)
  })
  test('gives executions a second where there were enough of them', () => {
    expect(asObject(row)).toMatchObject({ agree: true, sameGraph: true, explore: { executionsPerSecond: 10_000 } })
    const few = { ...row, explore: { ...row.explore, executions: 999 } }
    expect(asObject(few)).toMatchObject({ explore: { executionsPerSecond: null } })
  })
})

test('without SPIN or a compiler npm run spin says which package to install', () => {
  const options = { env: { ...process.env, PATH: '' }, encoding: 'utf8' } as const
  const { status, stderr, stdout } = spawnSync(process.execPath, ['scripts/ts.mjs', 'scripts/spin.ts'], options)
  expect({ status, stderr, stdout }).toEqual({
    status: 2,
    stderr: 'spin: not installed here: spin and gcc; Debian: apt-get install spin gcc\n',
    stdout: '',
  })
})
