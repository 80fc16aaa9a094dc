import { EEXIST, EINVAL } from '../../linux/errno.ts'

/** kvm_userspace_memory_region flags. */
export const KVM_MEM_LOG_DIRTY_PAGES = 1
export const KVM_MEM_READONLY = 2
export const KVM_MEM_GUEST_MEMFD = 4

/** KVM_CAP_NR_MEMSLOTS; three more are KVM's own. */
export const KVM_USER_MEM_SLOTS = 32764
const MAX_PAGES = 2 ** 31 - 1
/** User addresses end here (4-level paging). */
const USER_END = 2 ** 47

/** Guest pages [baseGfn, baseGfn + npages) are the host user pages from `hva` on. */
export interface Memslot {
  readonly id: number
  readonly baseGfn: number
  readonly npages: number
  readonly hva: number
  readonly flags: number
  /** One bit a page, 64-bit words as the API shows them; null while not logging. */
  readonly dirty: Uint32Array | null
}

export interface RegionRequest {
  slot: number
  flags: number
  guestPhysAddr: number
  memorySize: number
  userspaceAddr: number
}

export interface SlotRefusal {
  readonly errno: number
  readonly rule: string
  readonly because: string
}

/** What KVM_SET_USER_MEMORY_REGION did: the caller drops or protects second-stage entries accordingly. */
export interface SlotChange {
  readonly kind: 'create' | 'delete' | 'move' | 'flags' | 'none'
  readonly old: Memslot | null
  readonly now: Memslot | null
}

const no = (errno: number, rule: string, because: string): SlotRefusal => ({ errno, rule, because })

/** 32-bit words of a dirty bitmap for `npages` pages: whole 64-bit words. */
export const dirtyWords = (npages: number): number => Math.ceil(npages / 64) * 2

/** The memory slots of one address space. */
export class Memslots {
  private readonly byId = new Map<number, Memslot>()
  /** Sorted by baseGfn; no two overlap. */
  private readonly sorted: Memslot[] = []
  private last: Memslot | null = null
  /** Changes with every change of the set. */
  generation = 0

  /** The slot a guest page lies in. */
  find(gfn: number): Memslot | null {
    const hit = this.last
    if (hit !== null && gfn >= hit.baseGfn && gfn < hit.baseGfn + hit.npages) return hit
    const { sorted } = this
    const low = this.firstAbove(gfn)
    if (low === 0) return null
    const slot = sorted[low - 1]
    if (gfn >= slot.baseGfn + slot.npages) return null
    this.last = slot
    return slot
  }

  byNumber(id: number): Memslot | null {
    return this.byId.get(id) ?? null
  }

  get all(): readonly Memslot[] {
    return this.sorted
  }

  /**
   * Creates, deletes, moves or reflags a slot. Nothing changes on refusal. KAPI-99, KAPI-100; Linux 6.12
   * __kvm_set_memory_region().
   * @param initiallyDirty KVM_DIRTY_LOG_INITIALLY_SET: enabling logging sets every bit (KAPI-106)
   */
  set(request: RegionRequest, maxGfn: number, initiallyDirty: boolean): SlotChange | SlotRefusal {
    const refusal = checkRegion(request, maxGfn)
    if (refusal !== null) return refusal
    const old = this.byNumber(request.slot)
    if (request.memorySize === 0) {
      if (old === null) return no(EINVAL, 'KAPI-100', `slot ${request.slot} does not exist, so it cannot be deleted`)
      this.replace(old, null)
      return { kind: 'delete', old, now: null }
    }
    return old === null ? this.create(request, initiallyDirty) : this.change(old, request, initiallyDirty)
  }

  private create(request: RegionRequest, initiallyDirty: boolean): SlotChange | SlotRefusal {
    const now = slotOf(request, null, initiallyDirty)
    const clash = this.overlapping(now)
    if (clash !== null) return no(EEXIST, 'KAPI-100', `slot ${now.id} would overlap slot ${clash.id}`)
    this.replace(null, now)
    return { kind: 'create', old: null, now }
  }

  private change(old: Memslot, request: RegionRequest, initiallyDirty: boolean): SlotChange | SlotRefusal {
    if (request.userspaceAddr !== old.hva) return no(EINVAL, 'KAPI-100', `slot ${old.id} exists with another userspace_addr`)
    if (request.memorySize !== old.npages * 4096) return no(EINVAL, 'KAPI-100', `slot ${old.id} exists with another memory_size`)
    if (((request.flags ^ old.flags) & KVM_MEM_READONLY) !== 0)
      return no(EINVAL, 'KAPI-100', `slot ${old.id}: READONLY cannot change`)
    const now = slotOf(request, old, initiallyDirty)
    if (now.baseGfn !== old.baseGfn) {
      const clash = this.overlapping(now)
      if (clash !== null) return no(EEXIST, 'KAPI-100', `slot ${now.id} would overlap slot ${clash.id}`)
      this.replace(old, now)
      return { kind: 'move', old, now }
    }
    if (now.flags === old.flags) return { kind: 'none', old, now: old }
    this.replace(old, now)
    return { kind: 'flags', old, now }
  }

  /** Index of the first slot whose base is above `gfn`. */
  private firstAbove(gfn: number): number {
    const { sorted } = this
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (sorted[middle].baseGfn <= gfn) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A slot with another number that shares pages with `slot`. As slots do not overlap, the last one below its end tells. */
  private overlapping(slot: Memslot): Memslot | null {
    for (let i = this.firstAbove(slot.baseGfn + slot.npages - 1) - 1; i >= 0; i--) {
      const other = this.sorted[i]
      if (other.id !== slot.id) return other.baseGfn + other.npages > slot.baseGfn ? other : null
    }
    return null
  }

  private replace(old: Memslot | null, now: Memslot | null): void {
    if (old !== null) {
      this.byId.delete(old.id)
      this.sorted.splice(this.sorted.indexOf(old), 1)
    }
    if (now !== null) {
      this.byId.set(now.id, now)
      this.sorted.splice(this.firstAbove(now.baseGfn), 0, now)
    }
    this.last = null
    this.generation++
  }
}

function checkRegion(r: RegionRequest, maxGfn: number): SlotRefusal | null {
  if (r.flags & KVM_MEM_GUEST_MEMFD) return no(EINVAL, 'KAPI-99', 'guest_memfd needs a VM type with private memory')
  if (r.flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)) return no(EINVAL, 'KAPI-99', 'unknown flags')
  if (r.memorySize % 4096 !== 0) return no(EINVAL, 'KAPI-99', 'memory_size is not a multiple of the page size')
  if (r.guestPhysAddr % 4096 !== 0) return no(EINVAL, 'KAPI-99', 'guest_phys_addr is not page aligned')
  if (r.userspaceAddr % 4096 !== 0) return no(EINVAL, 'KAPI-99', 'userspace_addr is not page aligned')
  if (r.userspaceAddr + r.memorySize > USER_END) return no(EINVAL, 'KAPI-99', 'userspace_addr is not a user address')
  if (r.slot >= KVM_USER_MEM_SLOTS) return no(EINVAL, 'KAPI-99', `slot number ${r.slot} is not below ${KVM_USER_MEM_SLOTS}`)
  if (r.guestPhysAddr + r.memorySize >= 2 ** 64) return no(EINVAL, 'KAPI-99', 'the region wraps around')
  const npages = r.memorySize / 4096
  if (npages > MAX_PAGES) return no(EINVAL, 'KAPI-99', 'more than 2^31 - 1 pages')
  if (r.memorySize !== 0 && r.guestPhysAddr / 4096 + npages - 1 > maxGfn)
    return no(EINVAL, 'KAPI-99', 'the region is beyond the physical addresses')
  return null
}

function slotOf(r: RegionRequest, old: Memslot | null, initiallyDirty: boolean): Memslot {
  const npages = r.memorySize / 4096
  return {
    id: r.slot,
    baseGfn: r.guestPhysAddr / 4096,
    npages,
    hva: r.userspaceAddr,
    flags: r.flags,
    dirty: dirtyBitmapFor(r.flags, npages, old, initiallyDirty),
  }
}

function dirtyBitmapFor(flags: number, npages: number, old: Memslot | null, initiallyDirty: boolean): Uint32Array | null {
  if ((flags & KVM_MEM_LOG_DIRTY_PAGES) === 0) return null
  if (old !== null && old.dirty !== null) return old.dirty
  const bitmap = new Uint32Array(dirtyWords(npages))
  if (initiallyDirty) for (let page = 0; page < npages; page++) bitmap[page >> 5] |= 1 << (page & 31)
  return bitmap
}
