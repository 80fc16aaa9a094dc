import { readdirSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { pinnedEscapes } from './pinned-escapes.ts'

const ROOT = join(import.meta.dirname, '../..')
const FIXTURES = join(ROOT, 'test/fixtures/must-not-compile')

// One program for all: only what is asked about is checked.
const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  ROOT,
)
const names = readdirSync(FIXTURES).filter((name) => name.endsWith('.ts'))
const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  .map((name) => join(ROOT, 'src', name))
const program = ts.createProgram([...names.map((name) => join(FIXTURES, name)), ...sources], {
  ...options,
  noUnusedLocals: false,
})
const checker = program.getTypeChecker()

const lineOf = (file: ts.SourceFile, position: number): number => file.getLineAndCharacterOfPosition(position).line + 1
const fileOf = (path: string): ts.SourceFile => program.getSourceFile(path.split(sep).join('/'))!

/** `line code` of everything wrong with a file, in order. */
function found(file: ts.SourceFile): string[] {
  const errors = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
  const compiler = errors.map(({ start, code }) => ({ line: lineOf(file, start ?? 0), code: `TS${code}` }))
  const escapes = pinnedEscapes(file, checker).map(({ line }) => ({ line, code: 'escape' }))
  return inOrder([...compiler, ...escapes])
}

/** What the comments of a file expect: `// expect: TS2345, escape`. */
function expected(file: ts.SourceFile): string[] {
  return inOrder(
    file.text.split('\n').flatMap((text, index) => {
      const codes = /\/\/ expect: (.+)$/.exec(text)?.[1].split(', ') ?? []
      return codes.map((code) => ({ line: index + 1, code }))
    }),
  )
}

const inOrder = (errors: { line: number; code: string }[]): string[] =>
  errors.sort((a, b) => a.line - b.line || (a.code < b.code ? -1 : 1)).map(({ line, code }) => `${line} ${code}`)

describe('code that breaks the rules of preemption does not compile', () => {
  for (const name of names.filter((n) => !n.endsWith('.right.ts'))) {
    test(`${name}: refused where it is wrong and nowhere else [SLD-53, SLD-55]`, () => {
      const file = fileOf(join(FIXTURES, name))
      expect(expected(file).length).toBeGreaterThan(0)
      expect(found(file)).toEqual(expected(file))
    })

    test(`${name}: the same done right compiles`, () => {
      const file = fileOf(join(FIXTURES, name.replace('.ts', '.right.ts')))
      expect(expected(file)).toEqual([])
      expect(found(file)).toEqual([])
    })
  }
})

describe('in all of src', () => {
  const inSource = <T>(each: (file: ts.SourceFile) => readonly T[]): (T & { path: string })[] =>
    sources.flatMap((path) => each(fileOf(path)).map((it) => ({ path: relative(ROOT, path).split(sep).join('/'), ...it })))

  test('a pinned processor stays where it is pinned; one mistake that the explorer puts back keeps it [SLD-53]', () => {
    expect(inSource((file) => pinnedEscapes(file, checker)).map(({ path, because }) => `${path}: ${because}`)).toEqual([
      'src/tools/explore/scenarios/split-lock-variants.ts: a place to keep a pinned processor',
    ])
  })

  test('only the scheduler, boot, hotplug, timer work, interrupts and withPreemptionDisabled make one', () => {
    const makers = inSource((file) =>
      [...file.text.matchAll(/(?<!const )\bpinnedProcessor\(|(?<!null )as (unknown as )?PinnedProcessor\b/g)].map(() => ({})),
    )
    const counts: Record<string, number> = {}
    for (const { path } of makers) counts[path] = (counts[path] ?? 0) + 1
    expect(counts).toEqual({
      'src/linux/clock.ts': 1,
      'src/linux/preemption.ts': 2,
      'src/linux/processor.ts': 1,
      'src/linux/sched/hotplug.ts': 2,
      'src/linux/sched/scheduler.ts': 3,
      // The interrupts of the explorer.
      'src/tools/explore/host-system.ts': 1,
    })
  })
})
