import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newAccesses, Recorder } from '../../../src/tools/explore/accesses.ts'
import { Search } from '../../../src/tools/explore/search.ts'
import type { System, Transition, Violation } from '../../../src/tools/explore/system.ts'

/** Processes that each do a list of operations on shared variables: small enough to enumerate by hand. */
type Operation = {
  readonly reads?: string
  readonly writes?: string
  readonly run?: (v: Record<string, number>) => void
  /** Only possible while this variable is 0, which it reads. */
  readonly whileZero?: string
}
class Programs implements System {
  readonly processes: readonly string[]
  violation: Violation | null = null
  readonly finals = new Set<string>()
  runs = 0
  private readonly programs: readonly (readonly Operation[])[]
  private readonly recorder = new Recorder()
  private readonly numbers = new Map<string, number>()
  private values: Record<string, number> = {}
  private at: number[] = []

  constructor(programs: readonly (readonly Operation[])[]) {
    this.programs = programs
    this.processes = programs.map((_, i) => `p${i}`)
  }
  get cells(): readonly string[] {
    return this.recorder.names
  }
  private cell(name: string): number {
    if (!this.numbers.has(name)) this.numbers.set(name, this.recorder.cell(name))
    return this.numbers.get(name)!
  }
  reset(): void {
    this.values = { x: 0, y: 0, z: 0 }
    this.at = this.programs.map(() => 0)
    this.violation = null
    this.runs++
  }
  enabled(into: Transition[]): void {
    for (const [process, program] of this.programs.entries())
      if (this.canStep(program[this.at[process]])) into.push({ process, choice: 'step', key: process, preempts: false })
    if (into.length === 0) this.finals.add(JSON.stringify(this.values))
  }
  blocked() {
    return this.programs.flatMap((program, process) => {
      const next = program[this.at[process]]
      if (next === undefined) return []
      const accesses = newAccesses()
      for (const [names, into] of [
        [[next.reads, next.whileZero], accesses.reads],
        [[next.writes], accesses.writes],
      ] as const)
        for (const name of names) if (name !== undefined) into[this.cell(name) >>> 5] |= 1 << (this.cell(name) & 31)
      return [{ process, accesses }]
    })
  }
  private canStep(next: Operation | undefined): boolean {
    return next !== undefined && (next.whileZero === undefined || this.values[next.whileZero] === 0)
  }
  execute({ process }: Transition) {
    const { reads, writes, run, whileZero } = this.programs[process][this.at[process]++]
    this.recorder.begin()
    if (reads !== undefined) this.recorder.read(this.cell(reads))
    if (writes !== undefined) this.recorder.write(this.cell(writes))
    if (whileZero !== undefined) this.recorder.read(this.cell(whileZero))
    run?.(this.values)
    return this.recorder.end()
  }
  forgive(): void {
    this.violation = null
  }
  describe() {
    return { shared: this.values }
  }
}

/** Takes a lock: waits while it is held. */
const lock = (name: string): Operation => ({ whileZero: name, writes: name, run: (v) => (v[name] = 1) })
const set = (name: string, value: number): Operation => ({ writes: name, run: (v) => (v[name] = value) })
const copy = (from: string, to: string): Operation => ({ reads: from, writes: to, run: (v) => (v[to] = v[from]) })

function search(programs: readonly (readonly Operation[])[], reduce: boolean) {
  const system = new Programs(programs)
  const result = new Search(system, { bound: 0, reduce }).run()!
  return { ...result, finals: [...system.finals].sort() }
}

describe('partial-order reduction', () => {
  test.each([
    ['independent processes', [[set('x', 1), set('x', 2)], [set('y', 1), set('y', 2)], [set('z', 1)]], 1],
    ['two writers of one variable', [[set('x', 1)], [set('x', 2)]], 2],
    ['a reader and two writers', [[copy('x', 'y')], [set('x', 1)], [set('x', 2)]], null],
    [
      'chains',
      [
        [set('x', 1), copy('y', 'z')],
        [set('y', 1), copy('x', 'z')],
      ],
      null,
    ],
    [
      'lost update',
      [
        [copy('x', 'y'), copy('y', 'x')],
        [copy('x', 'z'), copy('z', 'x')],
      ],
      null,
    ],
  ])('%s: every outcome of the full enumeration, with fewer runs', (_name, programs, runs) => {
    const full = search(programs, false)
    const reduced = search(programs, true)
    expect(reduced.exhaustive && full.exhaustive).toBe(true)
    expect(reduced.finals).toEqual(full.finals)
    expect(reduced.executions).toBeLessThanOrEqual(full.executions)
    if (runs !== null) expect(reduced.executions).toBe(runs)
  })

  const variable = fc.constantFrom('x', 'y', 'z')
  const operation = fc.oneof(
    fc.tuple(variable, fc.integer({ min: 1, max: 9 })).map(([name, value]) => set(name, value)),
    fc.tuple(variable, variable).map(([from, to]) => copy(from, to)),
    variable.map(lock),
    variable.map((name) => set(name, 0)),
  )
  test('random programs, with locks that nobody may give back: every outcome of the full enumeration', () => {
    const programs = fc.array(fc.array(operation, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 3 })
    fc.assert(
      fc.property(programs, (some) => {
        expect(search(some, true).finals).toEqual(search(some, false).finals)
      }),
      { numRuns: 500, seed: 7 },
    )
  })

  test('the full enumeration tries every order: 30 of 2 + 2 + 1 steps', () => {
    expect(search([[set('x', 1), set('x', 2)], [set('y', 1), set('y', 2)], [set('z', 1)]], false).executions).toBe(30)
  })

  test('shards cover what the whole search covers', () => {
    const programs = [
      [set('x', 1), copy('y', 'x'), set('x', 5), copy('x', 'y')],
      [set('y', 2), copy('x', 'y'), set('y', 7), copy('y', 'x')],
    ]
    const whole = search(programs, true).finals
    const parts = new Set<string>()
    for (let index = 0; index < 3; index++) {
      const system = new Programs(programs)
      new Search(system, { bound: 0, shard: { index, count: 3 } }).run()
      for (const final of system.finals) parts.add(final)
    }
    expect([...parts].sort()).toEqual(whole)
  })

  test('a search goes on where it stopped', () => {
    const programs = [
      [set('x', 1), copy('y', 'x')],
      [set('y', 2), copy('x', 'y')],
    ]
    const system = new Programs(programs)
    const sliced = new Search(system, { bound: 0 })
    let result = sliced.run(1)
    while (result === null) result = sliced.run(1)
    expect(result).toMatchObject({ exhaustive: true, executions: search(programs, true).executions })
    expect([...system.finals].sort()).toEqual(search(programs, true).finals)
  })
})
