import { readFileSync } from 'node:fs'
import { spawn } from '../../src/linux/exec/spawn.ts'
import { S_IFREG } from '../../src/linux/file.ts'
import type { HostFiles } from '../../src/linux/fs/host-bind.ts'
import { InputSource } from '../../src/linux/fs/host-stream.ts'
import type { Kernel } from '../../src/linux/kernel.ts'
import { bootHost, type TestHostOptions } from './host.ts'

/** A bind that shows one file. */
export function oneFile(bytes: Uint8Array, mode = S_IFREG | 0o755): HostFiles {
  return {
    info: (path) => (path === '' ? { mode, size: bytes.length, time: 0, links: 1 } : -2),
    list: () => -20,
    open: (path) =>
      path !== ''
        ? -2
        : {
            read(into, at, length, position) {
              const part = bytes.subarray(position, position + length)
              into.set(part, at)
              return part.length
            },
            write: () => -30,
            size: () => bytes.length,
            truncate: () => -30,
            close() {},
          },
    readLink: () => -22,
  }
}

export function programBytes(name: string): Uint8Array {
  return readFileSync(new URL(`../fixtures/linux-programs/${name}.elf`, import.meta.url))
}

export interface RunResult {
  /** Wait status: `exit << 8`, or the signal. */
  status: number | string
  output: string
  kernel: Kernel
}

export interface RunOptions extends TestHostOptions {
  args?: string[]
  envp?: string[]
  stdin?: string
  /** Before the first instruction. */
  prepare?: (kernel: Kernel) => void
}

/** Runs a program of test/fixtures/linux-programs to its end. */
export function runProgram(name: string, options: RunOptions = {}): RunResult {
  const kernel = bootHost(options)
  const path = `/opt/${name}`
  kernel.bind(path, oneFile(programBytes(name)))
  options.prepare?.(kernel)
  let output = ''
  const sink = { write: (bytes: Uint8Array) => void (output += String.fromCharCode(...bytes)) }
  const stdin = new InputSource()
  if (options.stdin !== undefined) stdin.push(Uint8Array.from(options.stdin, (c) => c.charCodeAt(0)))
  stdin.end()
  spawn(kernel, { path, argv: [path, ...(options.args ?? [])], envp: options.envp ?? [], stdin, stdout: sink, stderr: sink })
  for (let slice = 0; slice < 200; slice++) {
    const state = kernel.runSlice(1_000_000)
    if (state.state === 'exited') return { status: state.status, output, kernel }
    if (state.state !== 'running') return { status: state.state, output, kernel }
  }
  return { status: 'too long', output, kernel }
}

/** `name=0x12` lines as numbers. */
export function values(output: string): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [, name, value] of output.matchAll(/^(.*)=(0x[0-9a-f]+)$/gm)) found[name] = Number(value)
  return found
}
