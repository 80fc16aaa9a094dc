import type { Task } from '../task.ts'

/** Selectors of the host GDT that user mode sees (arch/x86/include/asm/segment.h). */
export const USER32_CS = 0x23
export const USER_DS = 0x2b
export const USER_CS = 0x33
export const GDT_TLS_MIN = 12
export const GDT_TLS_ENTRIES = 3

/** Access rights in VMX format (type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15). */
export const USER_CS_RIGHTS = 0xa0fb
export const USER32_CS_RIGHTS = 0xc0fb
export const USER_DS_RIGHTS = 0xc0f3
const P = 0x80
const S = 0x10
const TYPE_CODE = 8
const TYPE_EXPAND_DOWN_OR_CONFORMING = 4
const TYPE_WRITABLE_OR_READABLE = 2

/** A code or data segment descriptor, decoded. */
export interface Descriptor {
  readonly rights: number
  readonly base: number
  readonly limit: number
}

const GDT: Readonly<Record<number, Descriptor>> = {
  4: { rights: USER32_CS_RIGHTS, base: 0, limit: 0xffffffff },
  5: { rights: USER_DS_RIGHTS, base: 0, limit: 0xffffffff },
  6: { rights: USER_CS_RIGHTS, base: 0, limit: 0xffffffff },
}

/** The descriptor a user selector names; null when there is none. */
export function findDescriptor(task: Task, selector: number): Descriptor | null {
  const index = selector >> 3
  if ((selector & 4) !== 0) return task.mm.ldt[index] ?? null
  if (index >= GDT_TLS_MIN && index < GDT_TLS_MIN + GDT_TLS_ENTRIES) return task.tls[index - GDT_TLS_MIN]
  return GDT[index] ?? null
}

/** Exception that loading CS by IRET to user mode raises: vector, or 0 when it is fine. */
export function codeSegmentFault(descriptor: Descriptor | null): number {
  if (descriptor === null) return 13
  const { rights } = descriptor
  if ((rights & (S | TYPE_CODE)) !== (S | TYPE_CODE)) return 13
  if ((rights & TYPE_EXPAND_DOWN_OR_CONFORMING) === 0 && ((rights >> 5) & 3) !== 3) return 13
  return (rights & P) === 0 ? 11 : 0
}

/** The same for SS: writable data of DPL 3. */
export function stackSegmentFault(descriptor: Descriptor | null): number {
  if (descriptor === null) return 13
  const { rights } = descriptor
  if ((rights & (S | TYPE_CODE | TYPE_WRITABLE_OR_READABLE)) !== (S | TYPE_WRITABLE_OR_READABLE)) return 13
  if (((rights >> 5) & 3) !== 3) return 13
  return (rights & P) === 0 ? 12 : 0
}
