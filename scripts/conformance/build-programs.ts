import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command } from './command.ts'
import { type KernelSource, kernelSource } from './kernel-source.ts'
import { EXPECTED_TO_PASS, type Program } from './programs.ts'

export interface BuiltPrograms {
  /** The kernel the programs are of: 6.12.y. */
  version: string
  compiler: string
  pathOf(program: Program): string
}

/**
 * The kernel's own test programs, built from its unmodified source by its own Makefiles and linked statically, below `cache`.
 * What an earlier run built is taken as it is.
 */
export function builtPrograms(cache: string, say: (line: string) => void): BuiltPrograms {
  mkdirSync(cache, { recursive: true })
  const binaries = join(cache, 'programs')
  const pathOf = ({ suite, name }: Program) =>
    suite === 'kvm' ? join(binaries, 'kvm/x86_64', name) : join(binaries, suite, name)
  const record = join(cache, 'built.json')
  if (existsSync(record) && EXPECTED_TO_PASS.every((program) => existsSync(pathOf(program))))
    return { ...JSON.parse(readFileSync(record, 'utf8')), pathOf }

  const source = kernelSource(cache, say)
  const compiler = command('gcc', ['--version']).split('\n')[0]
  say(`building the test programs of Linux ${source.version} with ${compiler}`)
  build(source, binaries)
  const built = { version: source.version, compiler }
  writeFileSync(record, `${JSON.stringify(built)}\n`)
  return { ...built, pathOf }
}

function build({ tree }: KernelSource, binaries: string) {
  const make = (folder: string, args: string[], env: NodeJS.ProcessEnv = {}) =>
    command('make', ['-s', '-j4', '-C', join(tree, folder), ...args], { env })
  make('', ['headers', 'ARCH=x86'])
  const names = (suite: string) => EXPECTED_TO_PASS.filter((program) => program.suite === suite).map(({ name }) => name)

  const kvm = join(binaries, 'kvm')
  mkdirSync(kvm, { recursive: true })
  const targets = names('kvm').map((name) => join(kvm, 'x86_64', name))
  make('tools/testing/selftests/kvm', [`OUTPUT=${kvm}`, 'USERLDFLAGS=-static', ...targets])

  // The x86 Makefile resets CFLAGS and links without LDFLAGS; EXTRA_CFLAGS from the environment is what it adds to.
  const x86 = join(binaries, 'x86')
  mkdirSync(x86, { recursive: true })
  make('tools/testing/selftests/x86', [`OUTPUT=${x86}`, ...names('x86')], { EXTRA_CFLAGS: '-static' })
}
