/**
 * Told before translations of an address space change, as Linux's mmu_notifier: whoever cached `Mm.getUserPage` results
 * (KVM's second stage) must forget those of the range before it returns.
 */
export interface MmNotifier {
  /** User addresses [start, end) are about to lose their pages or become read-only. */
  invalidateRange(start: number, end: number): void
  /** The address space dies (its last task exits or executes another program). */
  release(): void
}
