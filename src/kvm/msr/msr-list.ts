import { E2BIG } from '../../linux/errno.ts'
import { PREEMPTION_POINT, type Preemptible } from '../../linux/preemption.ts'
import { decode, encode } from '../abi/struct-layout.ts'
import { kvm_msr_entry, kvm_msrs } from '../abi/structs.ts'
import type { IoctlCall } from '../ioctl-table.ts'

const MAX_MSR_LIST = 256

/** What becomes of one entry: the value it holds afterwards; null = the list stops here. */
export type MsrAccess = (index: number, data: bigint) => bigint | null

/** A struct kvm_msrs of user space: copied in, done entry by entry, copied out. KAPI-73; Linux 6.12 msr_io(). */
interface MsrList {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly count: number
  done: number
}

/** The number of entries done, or a negative errno. */
export function transferMsrs(call: IoctlCall, writesBack: boolean, access: MsrAccess): number {
  const list = readList(call)
  if (typeof list === 'number') return list
  while (doNext(list, access));
  return writesBack ? writeList(call, list) : list.done
}

/** The same steps with the places where Linux's could lose the processor: after each entry. */
export function* transferMsrsPreemptibly(call: IoctlCall, writesBack: boolean, access: MsrAccess): Preemptible<number> {
  const list = readList(call)
  if (typeof list === 'number') return list
  while (doNext(list, access)) yield PREEMPTION_POINT
  return writesBack ? writeList(call, list) : list.done
}

function readList(call: IoctlCall): MsrList | number {
  const header = new Uint8Array(kvm_msrs.size)
  if (!call.read(call.argument, header)) return call.badAddress()
  const { nmsrs } = decode(kvm_msrs, new DataView(header.buffer))
  if (nmsrs >= MAX_MSR_LIST) return call.refuse(E2BIG, 'KAPI-73', `${nmsrs} MSRs, at most ${MAX_MSR_LIST - 1}`)
  const bytes = new Uint8Array(nmsrs * kvm_msr_entry.size)
  if (!call.read(call.argument + kvm_msrs.size, bytes)) return call.badAddress()
  return { bytes, view: new DataView(bytes.buffer), count: nmsrs, done: 0 }
}

/** False: there is no next entry, or it stops the list. */
function doNext(list: MsrList, access: MsrAccess): boolean {
  if (list.done === list.count) return false
  const at = list.done * kvm_msr_entry.size
  const entry = decode(kvm_msr_entry, list.view, at)
  const data = access(entry.index, entry.data)
  if (data === null) return false
  encode(kvm_msr_entry, { data }, list.view, at)
  list.done++
  return true
}

function writeList(call: IoctlCall, { bytes, done }: MsrList): number {
  return call.write(call.argument + kvm_msrs.size, bytes) ? done : call.badAddress()
}
