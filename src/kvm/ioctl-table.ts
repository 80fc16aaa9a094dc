import { EFAULT, errnoName, type Refusal, type RefusalSlot, refuse as refuseOn } from '../linux/errno.ts'
import type { MaybePreemptible, Preemptible } from '../linux/preemption.ts'
import { type RefusalDetails, refusedBy } from '../linux/refusal.ts'
import type { Task } from '../linux/task.ts'
import type { KvmCapName } from './abi/capabilities.ts'
import { ioctlCopiesIn, ioctlCopiesOut, ioctlSize } from './abi/ioctl-encoding.ts'
import { KVM_IOCTL, type KvmIoctlName } from './abi/ioctl-numbers.ts'
import { type Decoded, decode, encode, type Fields, type StructLayout } from './abi/struct-layout.ts'

/** Memory of the calling process: what KVM uses of Linux's `Mm`. False = a byte cannot be accessed (EFAULT). */
export interface UserCopy {
  copyFromUser(into: Uint8Array, at: number, user: number, length: number): boolean
  copyToUser(user: number, from: Uint8Array, at: number, length: number): boolean
}

/** One ioctl being carried out. */
export class IoctlCall implements RefusalSlot {
  readonly task: Task
  readonly mm: UserCopy
  /** Third argument of ioctl(2): a value or an address; above 2^53 only its magnitude is right. */
  readonly argument: number
  refusal: Refusal | null = null

  constructor(task: Task, mm: UserCopy, argument: number) {
    this.task = task
    this.mm = mm
    this.argument = argument
  }

  /** Records why, and gives the result of the refused call: `return call.refuse(EINVAL, 'KAPI-43', '…')`. */
  refuse(errno: number, rule: string, sentence: string, details?: RefusalDetails): number {
    return refuseOn(this, errno, rule, sentence, details)
  }

  /** copy_from_user of a whole buffer. */
  read(address: number, into: Uint8Array): boolean {
    return this.mm.copyFromUser(into, 0, address, into.length)
  }
  /** copy_to_user of a whole buffer. */
  write(address: number, from: Uint8Array): boolean {
    return this.mm.copyToUser(address, from, 0, from.length)
  }

  badAddress(): number {
    const value = BigInt(Math.trunc(this.argument))
    return this.refuse(EFAULT, 'KAPI-01', 'the argument points to memory that cannot be accessed', {
      asked: { kind: 'buffer', name: 'argument', value },
      chain: [refusedBy('memory', 'address of the argument', value)],
    })
  }
}

/** How far an ioctl is modelled: the compatibility page is made from this column. */
export type Support =
  | 'full'
  | { readonly partial: string }
  | { readonly refused: number; readonly rule: string; readonly because: string }

export const full: Support = 'full'
/** @param sentence which part is missing */
export const partial = (sentence: string): Support => ({ partial: sentence })

type Copy = 'none' | 'in' | 'out' | 'inout'
type Body<T> = (target: T, call: IoctlCall, argument: DataView) => MaybePreemptible<number>

/** What a row states; its number follows from its name. */
export interface IoctlSpec<T> {
  readonly support: Support
  /** KVM_CAP_ that announces it. */
  readonly cap?: KvmCapName
  /** Bytes copied in and out around `run`. */
  readonly bytes: number
  readonly copy: Copy
  readonly run: Body<T>
}

export interface IoctlRow<T> extends IoctlSpec<T> {
  readonly name: KvmIoctlName
  readonly number: number
  readonly counters: { calls: number; failures: number }
}

/** All ioctls of one kind of file descriptor, by number. */
export type IoctlTable<T> = ReadonlyMap<number, IoctlRow<T>>

type Options = { readonly support?: Support; readonly cap?: KvmCapName }

/** An ioctl whose argument is a value. */
export function immediate<T>(
  run: (target: T, argument: number, call: IoctlCall) => MaybePreemptible<number>,
  options: Options = {},
): IoctlSpec<T> {
  return { support: full, ...options, bytes: 0, copy: 'none', run: (target, call) => run(target, call.argument, call) }
}

/** An ioctl that does its own copying: variable-length arguments. `bytes` and direction are not used. */
export function raw<T>(run: (target: T, call: IoctlCall) => MaybePreemptible<number>, options: Options = {}): IoctlSpec<T> {
  return { support: full, ...options, bytes: 0, copy: 'none', run }
}

/** An ioctl that reads a structure. */
export function takes<T, F extends Fields>(
  layout: StructLayout<F>,
  run: (target: T, value: Decoded<F>, call: IoctlCall) => MaybePreemptible<number>,
  options: Options = {},
): IoctlSpec<T> {
  return {
    support: full,
    ...options,
    bytes: layout.size,
    copy: 'in',
    run: (target, call, view) => run(target, decode(layout, view), call),
  }
}

/** An ioctl that fills a structure; bytes it does not name are zero. `run` gives the value, or a negative errno. */
export function gives<T, F extends Fields>(
  layout: StructLayout<F>,
  run: (target: T, call: IoctlCall) => Partial<Decoded<F>> | number,
  options: Options = {},
): IoctlSpec<T> {
  return {
    support: full,
    ...options,
    bytes: layout.size,
    copy: 'out',
    run: (target, call, view) => {
      const value = run(target, call)
      if (typeof value === 'number') return value
      encode(layout, value, view)
      return 0
    },
  }
}

/** An ioctl that reads a structure and writes it back as `run` left it. */
export function exchanges<T, F extends Fields>(
  layout: StructLayout<F>,
  run: (target: T, value: Decoded<F>, call: IoctlCall) => MaybePreemptible<number>,
  options: Options = {},
): IoctlSpec<T> {
  return {
    support: full,
    ...options,
    bytes: layout.size,
    copy: 'inout',
    run: (target, call, view) => {
      const value = decode(layout, view)
      const writeBack = (result: number): number => {
        if (result >= 0) encode(layout, value, view)
        return result
      }
      const result = run(target, value, call)
      return typeof result === 'number' ? writeBack(result) : continueWith(result, writeBack)
    },
  }
}

function* continueWith(code: Preemptible<number>, then: (result: number) => number): Preemptible<number> {
  return then(yield* code)
}

/** An ioctl the model does not have, with the errno a kernel without it gives. */
export function refused<T>(errno: number, rule: string, because: string): IoctlSpec<T> {
  return {
    support: { refused: errno, rule, because },
    bytes: 0,
    copy: 'none',
    run: (_target, call) => call.refuse(errno, rule, because),
  }
}

/** Builds a table; numbers come from KVM_IOCTL by name. A size that disagrees with the number is an error in the table. */
export function ioctlTable<T>(specs: Partial<Record<KvmIoctlName, IoctlSpec<T>>>): IoctlTable<T> {
  const table = new Map<number, IoctlRow<T>>()
  for (const [key, spec] of Object.entries(specs)) {
    const name = key as KvmIoctlName
    const number = KVM_IOCTL[name]
    if (table.has(number)) throw new Error(`ioctl table: ${name} has the number of ${table.get(number)!.name}`)
    table.set(number, { ...spec, name, number, counters: { calls: 0, failures: 0 } })
  }
  return table
}

/** Rows whose copied size or direction is not what the number says; each must be a known oddity of the ABI. */
export function oddRows<T>(table: IoctlTable<T>): IoctlRow<T>[] {
  return [...table.values()].filter((row) => {
    if (row.copy === 'none') return false
    const copiesIn = row.copy === 'in' || row.copy === 'inout'
    const copiesOut = row.copy === 'out' || row.copy === 'inout'
    return (
      row.bytes !== ioctlSize(row.number) || copiesIn !== ioctlCopiesIn(row.number) || copiesOut !== ioctlCopiesOut(row.number)
    )
  })
}

/** Sees every ioctl after it finished. */
export type IoctlObserver = (row: IoctlRow<any>, call: IoctlCall, result: number) => void

const NOTHING = new Uint8Array(0)
const NOTHING_VIEW = new DataView(NOTHING.buffer)

/** Runs a row: copy in, run, copy out, count. The errno of a number without a row is the file's business (KAPI §1). */
export function runIoctl<T>(
  row: IoctlRow<T>,
  target: T,
  call: IoctlCall,
  observer: IoctlObserver | null,
): MaybePreemptible<number> {
  row.counters.calls++
  const buffer = row.bytes === 0 ? NOTHING : new Uint8Array(row.bytes)
  if ((row.copy === 'in' || row.copy === 'inout') && !call.read(call.argument, buffer)) {
    return finishIoctl(row, call, buffer, call.badAddress(), observer)
  }
  const result = row.run(target, call, row.bytes === 0 ? NOTHING_VIEW : new DataView(buffer.buffer))
  if (typeof result === 'number') return finishIoctl(row, call, buffer, result, observer)
  return continueWith(result, (value) => finishIoctl(row, call, buffer, value, observer))
}

function finishIoctl<T>(
  row: IoctlRow<T>,
  call: IoctlCall,
  buffer: Uint8Array,
  result: number,
  observer: IoctlObserver | null,
): number {
  let value = result
  if (value >= 0 && (row.copy === 'out' || row.copy === 'inout') && !call.write(call.argument, buffer)) value = call.badAddress()
  if (value < 0) {
    row.counters.failures++
    if (call.refusal !== null && call.refusal.errno !== -value) call.refusal = null
    call.task.refusal = call.refusal
  }
  if (observer !== null) observer(row, call, value)
  return value
}

/** `KVM_SET_XCRS = -EINVAL (GFPU-45: YMM without SSE)` for traces. */
export function describeIoctl(row: IoctlRow<unknown>, call: IoctlCall, result: number): string {
  if (result >= 0) return `${row.name} = ${result}`
  const why = call.refusal === null ? '' : ` (${call.refusal.rule}: ${call.refusal.sentence})`
  return `${row.name} = -${errnoName(-result)}${why}`
}
