import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { parseCpuSpec } from '../isa/cpu-grammar.ts'
import { UserError } from '../isa/user-error.ts'
import { EPIPE, errnoName } from '../linux/errno.ts'
import { ProgramError } from '../linux/exec/program-error.ts'
import { decodeSnapshot, encodeSnapshot } from '../tools/snapshot/snapshot.ts'
import { SnapshotError } from '../tools/snapshot/snapshot-error.ts'
import { MsrError, ProcessDied, SyscallError } from '../vmm/errors.ts'
import { Host } from '../vmm/modelled/host.ts'
import { MAX_WORDS_BYTES } from '../vmm/small-vmm/entry-state.ts'
import { GuestFileError, readGuestFile } from '../vmm/small-vmm/guest-file.ts'
import { RestoreError, SmallVmm, type SmallVmmWatcher } from '../vmm/small-vmm/small-vmm.ts'
import { bootParameters } from './boot-parameters.ts'
import { type DriveEnd, driveGuest } from './drive-guest.ts'
import { chainLines } from './explain.ts'
import { decoderModule, engineOptions } from './program-host.ts'
import { EXIT_BROKEN_PIPE, EXIT_FAILURE, EXIT_NOT_RUNNABLE, oneLine, report } from './report.ts'
import { RunConsole } from './run-console.ts'
import type { RunOptions } from './run-options.ts'
import { RunTrace } from './run-trace.ts'
import { printStats, statistics } from './statistics.ts'
import { describeVcpu } from './vcpu-state.ts'

/** What the host needs beside the guest's memory: kernel structures, page tables, the VMM itself. */
const HOST_OVERHEAD = 64 << 20
/** Larger files than any guest's memory, and any saved guest. */
const MAX_FILE = 5 * 2 ** 30

/** How long the reader of our output has after Ctrl-C. */
const LAST_WORDS_MS = 200

/** Runs a guest; resolves to the exit status of the command: the guest's own, or 2, 125, 126, 127. */
export async function runCommand(guest: string | undefined, words: readonly string[], options: RunOptions): Promise<number> {
  try {
    return await new Run(options).run(guest, wordsOf(words))
  } catch (error) {
    return reportGuestError(error, options)
  }
}

class Run {
  private readonly options: RunOptions
  private readonly console = new RunConsole()
  private readonly trace: RunTrace
  private readonly hosts: Host[] = []

  constructor(options: RunOptions) {
    this.options = options
    this.trace = new RunTrace(options, this.console)
  }

  async run(guest: string | undefined, words: string): Promise<number> {
    const { migrateTo } = this.options
    if (migrateTo !== undefined) checkTarget(migrateTo)
    let vmm = this.start(guest, words)
    let migrated = false
    let left = this.options.maxInstructions ?? Number.POSITIVE_INFINITY
    for (;;) {
      const before = vmm.retired
      const end = await driveGuest(vmm, left, this.console)
      left -= vmm.retired - before
      if (end.kind === 'checkpoint' && migrateTo !== undefined && !migrated) {
        vmm = this.migrate(vmm, migrateTo)
        migrated = true
      } else if (end.kind === 'checkpoint' && this.options.save !== undefined && migrateTo === undefined) {
        this.saveTo(this.options.save, vmm)
        return this.finish(0)
      } else if (end.kind !== 'checkpoint') {
        if (migrateTo !== undefined && !migrated) say('the guest ended without a checkpoint: it was not migrated')
        return this.finish(this.ended(end, vmm))
      }
    }
  }

  private ended(end: Exclude<DriveEnd, { kind: 'checkpoint' }>, vmm: SmallVmm): number {
    switch (end.kind) {
      case 'exited':
        return end.status
      case 'limit':
        if (this.options.save !== undefined && this.options.migrateTo === undefined) {
          this.saveTo(this.options.save, vmm)
          return 0
        }
        return stoppedAt(vmm, `stopped after ${this.options.maxInstructions} instructions (--max-instructions)`)
      case 'interrupted':
        // Whoever reads our output may have stopped reading.
        setTimeout(() => process.exit(EXIT_FAILURE), LAST_WORDS_MS).unref()
        return stoppedAt(vmm, `interrupted after ${vmm.retired} instructions`)
      case 'output-failed':
        if (end.errno === EPIPE) return EXIT_BROKEN_PIPE
        say(`standard output: ${errnoName(end.errno)}`)
        return EXIT_FAILURE
      case 'stopped': {
        const status = stoppedAt(vmm, end.because)
        this.explainEnd()
        return status
      }
    }
  }

  /** The guest cannot go on: what was refused to it last is the likely reason. */
  private explainEnd(): void {
    const reason = this.trace.lastException
    if (reason === null) return
    say(`the last thing refused to the guest: ${reason.outcome}: ${reason.sentence} (${reason.rule})`)
    for (const line of chainLines(reason)) process.stderr.write(`${line}\n`)
  }

  /** A guest from its file, or from where it was saved. */
  private start(guest: string | undefined, words: string): SmallVmm {
    const { cpu, memory, restore } = this.options
    if ((guest === undefined) === (restore === undefined)) {
      const because = guest === undefined ? 'neither GUEST nor --restore is given' : 'a saved guest brings its program with it'
      throw new UserError({
        code: 'bad-arguments',
        what: 'no single guest',
        where: 'run',
        because,
        fix: 'give GUEST or --restore FILE',
      })
    }
    if (restore !== undefined) {
      const state = decodeSnapshotFile(restore)
      const host = this.newHost(
        cpu,
        state.memory.reduce((sum, region) => sum + region.size, 0),
      )
      return SmallVmm.restore(host.newProcess(), state, this.watcher(host))
    }
    const file = readGuestFile(readFile(guest!), guest!, memory)
    const host = this.newHost(cpu, memory)
    return SmallVmm.boot(host.newProcess(), file, memory, this.watcher(host), words)
  }

  /** Saves the guest, ends its VM, and makes it again from the saved bytes on a host with another CPU. */
  private migrate(vmm: SmallVmm, model: string): SmallVmm {
    const file = encodeSnapshot(vmm.save())
    if (this.options.save !== undefined) writeFile(this.options.save, file)
    vmm.close()
    const state = decodeSnapshot(file)
    const host = this.newHost(
      model,
      state.memory.reduce((sum, region) => sum + region.size, 0),
    )
    return SmallVmm.restore(host.newProcess(), state, this.watcher(host))
  }

  private saveTo(path: string, vmm: SmallVmm): void {
    const file = encodeSnapshot(vmm.save())
    writeFile(path, file)
    say(`saved after ${vmm.retired} instructions: ${path}, ${file.length} bytes`)
  }

  private newHost(cpu: string, guestBytes: number): Host {
    const { kernel, seed, engine, boot } = this.options
    const host = new Host({
      cpu,
      kernel,
      memory: guestBytes + HOST_OVERHEAD,
      processors: 1,
      seed,
      ...bootParameters(boot),
      decoder: decoderModule(),
      engine: engineOptions(engine ?? ''),
    })
    host.kernel.log.onEmergency = (line) => process.stderr.write(`${line}\n`)
    this.trace.watch(host)
    this.hosts.push(host)
    return host
  }

  private watcher(host: Host): SmallVmmWatcher {
    return {
      console: (byte) => this.console.push(byte),
      event: (name, values) => this.trace.vmm(host, name, values),
    }
  }

  private finish(status: number): number {
    for (const host of this.hosts) {
      const stats = statistics(host)
      if (this.options.stats) {
        process.stderr.write(`${host.description}\n`)
        printStats(stats)
      }
      for (const line of stats.unmodelled) process.stderr.write(`worldswitch: not modelled: ${line}\n`)
    }
    return status
  }
}

/** The words for a guest as it gets them. */
function wordsOf(words: readonly string[]): string {
  const text = words.join(' ')
  const bytes = new TextEncoder().encode(text).length
  if (bytes < MAX_WORDS_BYTES) return text
  throw new UserError({
    code: 'bad-arguments',
    what: 'too many words for the guest',
    where: 'run',
    because: `they have ${bytes} bytes, and there is room for ${MAX_WORDS_BYTES - 1}`,
    fix: 'give fewer',
  })
}

const say = (text: string): void => {
  process.stderr.write(`worldswitch: ${oneLine(text)}\n`)
}

/** The run ends here, and not by the guest's wish: why, and where it stands. */
function stoppedAt(vmm: SmallVmm, because: string): number {
  const state = describeVcpu(vmm.vcpu)
  say(because)
  process.stderr.write(state)
  return EXIT_FAILURE
}

/** An unknown model is found before the guest runs, and named after its option. */
function checkTarget(model: string): void {
  try {
    parseCpuSpec(model)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const { code, what, because, fix, nearest } = error
    throw new UserError({ code, what, where: '--migrate-to', because, fix, nearest })
  }
}

function readFile(path: string): Uint8Array {
  const info = statSync(path, { throwIfNoEntry: false })
  if (info === undefined) throw new ProgramError('not-found', path, 'no such file', -2)
  if (info.isDirectory()) throw new ProgramError('is-directory', path, 'is a directory', -21)
  if (!info.isFile()) throw new ProgramError('not-readable', path, 'is not a regular file', -22)
  if (info.size > MAX_FILE) throw new ProgramError('not-readable', path, `has ${info.size} bytes: no guest is that large`, -27)
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ProgramError('not-readable', path, `cannot be read: ${(error as NodeJS.ErrnoException).code}`, -5)
  }
}

/** What was to be saved cannot be. */
class SaveError extends Error {}

function writeFile(path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes)
  } catch (error) {
    throw new SaveError(`${path}: cannot be written: ${(error as NodeJS.ErrnoException).code}`)
  }
}

function decodeSnapshotFile(path: string) {
  try {
    return decodeSnapshot(readFile(path))
  } catch (error) {
    if (error instanceof SnapshotError) throw new SnapshotError(error.code, `${path}: ${error.message}`)
    throw error
  }
}

/** One line about an error, and the exit code for it. */
function reportGuestError(error: unknown, options: RunOptions): number {
  if (error instanceof GuestFileError || error instanceof SnapshotError) {
    say(error.message)
    return EXIT_NOT_RUNNABLE
  }
  if (error instanceof RestoreError) {
    say(error.message)
    if (options.explain) {
      for (const { because, rule, fix } of error.obstacles) {
        process.stderr.write(`  ${because}${rule === null ? '' : ` (${rule})`}${fix === '' ? '' : `\n    try: ${fix}`}\n`)
      }
    }
    return EXIT_FAILURE
  }
  if (error instanceof SaveError || error instanceof SyscallError || error instanceof MsrError || error instanceof ProcessDied) {
    say(error.message)
    if (options.explain && 'reason' in error && error.reason !== null) {
      for (const line of chainLines(error.reason)) process.stderr.write(`${line}\n`)
    }
    return EXIT_FAILURE
  }
  return report(error)
}
