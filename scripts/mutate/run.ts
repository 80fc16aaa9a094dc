import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { idsIn } from '../fidelity/proofs.ts'
import { breakLine, copyTree } from './copies.ts'
import type { Mutation } from './mutations.ts'

/** What one mutation came to. */
export interface Outcome {
  readonly mutation: Mutation
  /** killed: a test of the rule failed. survived: all passed. broken: they did not run, or not even unbroken do they pass. */
  readonly result: 'killed' | 'survived' | 'broken'
  /** The test that failed first, or what is wrong. */
  readonly by: string
}

/** Longer than a batch may take: a mutation that loops for ever costs no more. */
const LIMIT_MS = 240_000

interface Tested {
  readonly name: string
  readonly passed: boolean
}

/**
 * Runs the rules' tests on the tree as it is, then with each line broken: many copies in one run of vitest, since starting one
 * costs more than most of the tests do.
 */
export async function runMutations(mutations: readonly Mutation[], folder: string): Promise<Outcome[]> {
  const tests = [...new Set(mutations.map(({ test }) => test))]
  copyTree(join(folder, 'unbroken'))
  mutations.forEach((mutation, i) => {
    copyTree(join(folder, `m${i}`))
    breakLine(join(folder, `m${i}`), mutation)
  })
  const included = [...tests.map((test) => `unbroken/${test}`), ...mutations.map(({ test }, i) => `m${i}/${test}`)]
  const results = await runTests(folder, included, [...new Set(mutations.map(({ rule }) => rule))])
  return mutations.map((mutation, i) => {
    const named = (at: string) =>
      (results.get(`${at}/${mutation.test}`) ?? []).filter(({ name }) => idsIn(name).includes(mutation.rule))
    return outcomeOf(mutation, named('unbroken'), named(`m${i}`))
  })
}

function outcomeOf(mutation: Mutation, unbroken: readonly Tested[], broken: readonly Tested[]): Outcome {
  const red = unbroken.find(({ passed }) => !passed)
  if (unbroken.length === 0) return { mutation, result: 'broken', by: `no test of ${mutation.test} names the rule` }
  if (red !== undefined) return { mutation, result: 'broken', by: `fails on the tree as it is: ${red.name}` }
  if (broken.length < unbroken.length) return { mutation, result: 'broken', by: 'its tests did not run' }
  const killer = broken.find(({ passed }) => !passed)
  return killer === undefined ? { mutation, result: 'survived', by: '' } : { mutation, result: 'killed', by: killer.name }
}

/** Results of the tests that name one of `rules`, by file from `folder` on. */
async function runTests(folder: string, included: readonly string[], rules: readonly string[]): Promise<Map<string, Tested[]>> {
  const config = join(folder, 'vitest.config.mjs')
  const report = join(folder, 'report.json')
  rmSync(report, { force: true })
  const test = { include: included, exclude: [], testTimeout: 60_000, pool: 'threads', maxWorkers: '100%' }
  writeFileSync(config, `export default ${JSON.stringify({ test: { ...test, reporters: ['json'], outputFile: report } })}\n`)
  // Ranges name their rules by the ends only: what they have in between is sorted out afterwards.
  const pattern = `(${rules.join('|')}|\\d\\.\\.)`
  const started = spawn(
    process.execPath,
    ['node_modules/vitest/vitest.mjs', 'run', '--root', folder, '--config', config, '-t', pattern],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  const limit = setTimeout(() => started.kill('SIGKILL'), LIMIT_MS)
  await new Promise((done) => started.on('close', done))
  clearTimeout(limit)
  const found = new Map<string, Tested[]>()
  if (!existsSync(report)) return found
  for (const { name, assertionResults } of JSON.parse(readFileSync(report, 'utf8')).testResults) {
    const ran = assertionResults.filter(({ status }: { status: string }) => status === 'passed' || status === 'failed')
    const tested = ran.map(({ fullName, status }: { fullName: string; status: string }) => ({
      name: fullName,
      passed: status === 'passed',
    }))
    found.set(relative(folder, name), tested)
  }
  return found
}
