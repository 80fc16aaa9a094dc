import { NO_RESULT } from '../entry/syscall-entry.ts'
import { errnoName, errnoTable } from '../errno.ts'
import { signalName } from '../signal/signals.ts'
import type { Task } from '../task.ts'
import { flagTables } from './strace-flags.ts'
import type { SyscallRow } from './support.ts'

/** Lines in the manner of strace(1). */

const pendingText = new WeakMap<Task, string>()
const SHOWN_BYTES = 32

/** Remembers how the call was made; strings are read now, before the call changes memory. */
export function traceEntry(task: Task, nr: number, row: SyscallRow | undefined): void {
  pendingText.set(task, row === undefined ? `syscall_${nr}(...)` : `${row.name}(${argumentsText(task, row.args)})`)
  if (row?.name === 'exit' || row?.name === 'exit_group') traceExit(task, NO_RESULT)
}

export function traceExit(task: Task, result: number): void {
  const text = pendingText.get(task)
  if (text === undefined) return
  pendingText.delete(task)
  task.kernel.trace.syscall?.(task, text, result === NO_RESULT ? null : result, task.refusal)
}

/** `= 0`, `= -1 EBUSY (PERM-23: a vCPU exists)`. */
export function resultText(result: number | null, refusal: Task['refusal']): string {
  if (result === null) return '= ?'
  if (result >= 0) return `= ${result > 0xffff ? `0x${result.toString(16)}` : result}`
  const why = refusal === null || refusal.errno !== -result ? '' : ` (${refusal.rule}: ${refusal.sentence})`
  if (-result > 4095) return `= ${result}`
  return `= ${(-result) in knownErrnos ? -1 : '?'} ${errnoName(-result)}${why}`
}

const knownErrnos: Record<number, true> = Object.fromEntries(Object.values(errnoTable).map((nr) => [nr, true]))

function argumentsText(task: Task, format: string): string {
  if (format === '') return ''
  return format
    .split(' ')
    .map((kind, index) => argumentText(task, kind, index))
    .join(', ')
}

function argumentText(task: Task, kind: string, index: number): string {
  const { args } = task
  switch (kind) {
    case 'fd':
    case 'int':
      return String(args.int(index))
    case 'dirfd':
      return args.int(index) === -100 ? 'AT_FDCWD' : String(args.int(index))
    case 'uint':
      return String(args.u32(index))
    case 'mode':
      return `0${args.u32(index).toString(8)}`
    case 'size':
      return String(args.long(index))
    case 'sig':
      return signalName(args.int(index))
    case 'str':
      return stringText(task, args.long(index))
    case 'buf':
      return bufferText(task, args.long(index), args.long(index + 1))
    case 'hex':
    case 'ptr':
      return hexText(args.high(index), args.u32(index), kind === 'ptr')
    default:
      return flagTables[kind]?.(args.u32(index)) ?? hexText(args.high(index), args.u32(index), false)
  }
}

function hexText(hi: number, lo: number, pointer: boolean): string {
  if (hi === 0 && lo === 0) return pointer ? 'NULL' : '0'
  return `0x${hi === 0 ? lo.toString(16) : (hi >>> 0).toString(16) + lo.toString(16).padStart(8, '0')}`
}

function stringText(task: Task, user: number): string {
  const text = task.mm.stringFromUser(user)
  return typeof text === 'string' ? JSON.stringify(text) : hexText(Math.floor(user / 4294967296), user >>> 0, true)
}

function bufferText(task: Task, user: number, length: number): string {
  const bytes = new Uint8Array(Math.max(0, Math.min(length, SHOWN_BYTES)))
  const got = task.mm.copyFromUserPartly(bytes, 0, user, bytes.length)
  if (got < bytes.length) return hexText(Math.floor(user / 4294967296), user >>> 0, true)
  return JSON.stringify(String.fromCharCode(...bytes)) + (length > SHOWN_BYTES ? '...' : '')
}
