import { EFAULT, EINVAL, ENOENT } from '../../linux/errno.ts'
import type { SecondStage } from '../../machine/second-stage.ts'
import { KVM_USER_MEM_SLOTS, type Memslot, type Memslots, type SlotRefusal } from './memslots.ts'

/** Where a bitmap goes to or comes from in user memory: an IoctlCall. */
export interface BitmapUser {
  read(address: number, into: Uint8Array): boolean
  write(address: number, from: Uint8Array): boolean
}

const no = (errno: number, rule: string, because: string): SlotRefusal => ({ errno, rule, because })

const bytesOf = (bitmap: Uint32Array): Uint8Array => new Uint8Array(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength)

/** A guest page of the slot was written. */
export function markDirty(slot: Memslot, page: number): void {
  const bitmap = slot.dirty!
  bitmap[page >> 5] |= 1 << (page & 31)
}

function loggedSlot(slots: Memslots, id: number): Memslot | SlotRefusal {
  if (id >= KVM_USER_MEM_SLOTS) return no(EINVAL, 'KAPI-104', `slot number ${id} is not below ${KVM_USER_MEM_SLOTS}`)
  const slot = slots.byNumber(id)
  if (slot === null || slot.dirty === null) return no(ENOENT, 'KAPI-104', `slot ${id} does not exist or does not log dirty pages`)
  return slot
}

/**
 * KVM_GET_DIRTY_LOG. Unless user space clears by hand (`manual`), the log is emptied and the pages protected again before it
 * is copied out. KAPI-104.
 */
export function getDirtyLog(
  slots: Memslots,
  stage: SecondStage,
  id: number,
  user: BitmapUser,
  address: number,
  manual: boolean,
): SlotRefusal | null {
  const slot = loggedSlot(slots, id)
  if ('errno' in slot) return slot
  const bitmap = slot.dirty!
  const copy = bitmap.slice()
  if (!manual) clearBits(slot, stage, copy, 0)
  return user.write(address, bytesOf(copy)) ? null : no(EFAULT, 'KAPI-104', 'dirty_bitmap cannot be written')
}

/** KVM_CLEAR_DIRTY_LOG: clears what is set in the argument. KAPI-105. */
export function clearDirtyLog(
  slots: Memslots,
  stage: SecondStage,
  request: { slot: number; firstPage: number; numPages: number; bitmap: number },
  user: BitmapUser,
): SlotRefusal | null {
  const { firstPage, numPages } = request
  if (firstPage % 64 !== 0) return no(EINVAL, 'KAPI-105', 'first_page is not a multiple of 64')
  const slot = loggedSlot(slots, request.slot)
  if ('errno' in slot) return slot
  const end = firstPage + numPages
  if (firstPage > slot.npages || numPages > slot.npages - firstPage) return no(EINVAL, 'KAPI-105', 'the range is beyond the slot')
  if (numPages % 64 !== 0 && end !== slot.npages)
    return no(EINVAL, 'KAPI-105', 'num_pages is not a multiple of 64 and does not reach the end')
  const mask = new Uint32Array(Math.ceil(numPages / 64) * 2)
  if (!user.read(request.bitmap, bytesOf(mask))) return no(EFAULT, 'KAPI-105', 'dirty_bitmap cannot be read')
  clearBits(slot, stage, mask, firstPage)
  return null
}

/** Clears the bits of `mask` (which starts at `firstPage`) and write-protects their pages so that the next write is seen. */
function clearBits(slot: Memslot, stage: SecondStage, mask: Uint32Array, firstPage: number): void {
  const bitmap = slot.dirty!
  const firstWord = firstPage >> 5
  for (let word = 0; word < mask.length; word++) {
    const bits = mask[word] & bitmap[firstWord + word]
    if (bits === 0) continue
    bitmap[firstWord + word] &= ~mask[word]
    protectRuns(stage, slot.baseGfn + firstPage + word * 32, bits)
  }
}

/** Write-protects the pages of one word, one call per run of set bits. */
function protectRuns(stage: SecondStage, gfn: number, bits: number): void {
  for (let bit = 0; bit < 32; ) {
    if (((bits >>> bit) & 1) === 0) {
      bit++
      continue
    }
    const first = bit
    while (bit < 32 && ((bits >>> bit) & 1) === 1) bit++
    stage.writeProtect(gfn + first, bit - first)
  }
}
