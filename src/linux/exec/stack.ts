import { E2BIG } from '../errno.ts'
import { latin1 } from '../fs/text-file.ts'
import { STACK_TOP } from '../mm/layout.ts'
import type { Task } from '../task.ts'
import { type ElfProgram, PHDR_SIZE } from './elf.ts'
import { ProgramError } from './program-error.ts'

/** Auxiliary vector tags (include/uapi/linux/auxvec.h, arch/x86/include/uapi/asm/auxvec.h). */
const AT_NULL = 0
const AT_PHDR = 3
const AT_PHENT = 4
const AT_PHNUM = 5
const AT_PAGESZ = 6
const AT_BASE = 7
const AT_FLAGS = 8
const AT_ENTRY = 9
const AT_UID = 11
const AT_EUID = 12
const AT_GID = 13
const AT_EGID = 14
const AT_PLATFORM = 15
const AT_HWCAP = 16
const AT_CLKTCK = 17
const AT_SECURE = 23
const AT_RANDOM = 25
const AT_HWCAP2 = 26
const AT_RSEQ_FEATURE_SIZE = 27
const AT_RSEQ_ALIGN = 28
const AT_EXECFN = 31
const AT_MINSIGSTKSZ = 51

const HWCAP2_FSGSBASE = 2

/** Linux allows a quarter of the stack limit, and never more than 6 MiB, for strings (fs/exec.c). */
const MAX_STRING_BYTES = 6 << 20

/** Writes arguments, environment and auxiliary vector; returns the initial RSP (LUX-03). Throws ProgramError. */
export function buildStack(
  task: Task,
  program: ElfProgram,
  path: string,
  argv: readonly string[],
  envp: readonly string[],
): number {
  const { mm, kernel } = task
  const strings = new StringArea(task, STACK_TOP - 8)
  const limit = Math.min(MAX_STRING_BYTES, task.group.limits.soft[3] / 4)
  let bytes = 0
  for (const text of [...argv, ...envp]) bytes += text.length + 9
  if (bytes > limit) throw new ProgramError('arguments-too-long', path, 'arguments and environment are too long', -E2BIG)
  const execfn = strings.push(path)
  mm.envEnd = strings.top
  const environment = pushAll(strings, envp)
  mm.envStart = strings.top
  mm.argEnd = strings.top
  const argumentsAt = pushAll(strings, argv)
  mm.argStart = strings.top
  const platform = strings.push('x86_64')
  const random = strings.pushBytes(kernel.random.fill(new Uint8Array(16)))
  const auxv = auxiliaryVector(task, program, { execfn, platform, random })
  const words = 1 + argv.length + 1 + envp.length + 1 + auxv.length
  const sp = Math.floor((Math.floor(strings.top / 16) * 16 - words * 8) / 16) * 16
  const image = [argv.length, ...argumentsAt, 0, ...environment, 0, ...auxv]
  for (let i = 0; i < image.length; i++) mm.putUserLong(sp + i * 8, image[i])
  return sp
}

function pushAll(strings: StringArea, texts: readonly string[]): number[] {
  const addresses: number[] = new Array(texts.length)
  for (let i = texts.length - 1; i >= 0; i--) addresses[i] = strings.push(texts[i])
  return addresses
}

function auxiliaryVector(task: Task, program: ElfProgram, at: { execfn: number; platform: number; random: number }): number[] {
  const { kernel } = task
  const { model, profile, xstate, uid, gid } = kernel
  const vector: number[] = []
  const add = (tag: number, value: number) => vector.push(tag, value)
  if (profile.userAbi.auxvMinSigStkSz) add(AT_MINSIGSTKSZ, xstate.maxFrame)
  add(AT_HWCAP, model.cpuid(1, 0).edx)
  add(AT_PAGESZ, 4096)
  add(AT_CLKTCK, 100)
  add(AT_PHDR, program.phdrAddress)
  add(AT_PHENT, PHDR_SIZE)
  add(AT_PHNUM, program.phdrCount)
  add(AT_BASE, 0)
  add(AT_FLAGS, 0)
  add(AT_ENTRY, program.entry)
  add(AT_UID, uid)
  add(AT_EUID, uid)
  add(AT_GID, gid)
  add(AT_EGID, gid)
  add(AT_SECURE, 0)
  add(AT_RANDOM, at.random)
  add(AT_HWCAP2, model.has('fsgsbase') ? HWCAP2_FSGSBASE : 0)
  add(AT_EXECFN, at.execfn)
  add(AT_PLATFORM, at.platform)
  if (profile.userAbi.auxvRseq) {
    add(AT_RSEQ_FEATURE_SIZE, 28)
    add(AT_RSEQ_ALIGN, 32)
  }
  add(AT_NULL, 0)
  return vector
}

/** Strings at the top of the stack, growing down. */
class StringArea {
  private readonly task: Task
  top: number

  constructor(task: Task, top: number) {
    this.task = task
    this.top = top
  }
  push(text: string): number {
    return this.pushBytes(latin1(`${text}\0`))
  }
  pushBytes(bytes: Uint8Array): number {
    this.top -= bytes.length
    this.task.mm.copyToUser(this.top, bytes, 0, bytes.length)
    return this.top
  }
}
