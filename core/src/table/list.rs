//! Doubly linked lists through the places of a table: whoever stands in one leaves it in constant
//! time.

const NONE: u32 = u32::MAX;

/// The two ends of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    front: u32,
    back: u32,
}

/// Where one place of the table stands in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    listed: bool,
    ahead: u32,
    behind: u32,
}

impl Link {
    pub(crate) const OUT: Self = Self { listed: false, ahead: NONE, behind: NONE };

    #[cfg(test)]
    pub(crate) const fn is_listed(self) -> bool {
        self.listed
    }
}

impl List {
    pub(crate) const EMPTY: Self = Self { front: NONE, back: NONE };

    pub(crate) fn front(self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    pub(crate) fn back(self) -> Option<u32> {
        (self.back != NONE).then_some(self.back)
    }

    /// Who stands right ahead of `place`.
    pub(crate) fn ahead_of(links: &[Link], place: u32) -> Option<u32> {
        links.get(place as usize).map(|link| link.ahead).filter(|ahead| *ahead != NONE)
    }

    /// Puts `place` at the back; does nothing for who is listed. `links` are those of this list.
    pub(crate) fn push_back(&mut self, links: &mut [Link], place: u32) {
        let Some(link) = links.get_mut(place as usize) else { return };
        if link.listed {
            return;
        }
        *link = Link { listed: true, ahead: self.back, behind: NONE };
        match links.get_mut(self.back as usize) {
            Some(last) => last.behind = place,
            None => self.front = place,
        }
        self.back = place;
    }

    /// Puts `place` at the back, wherever in this list it stood, or nowhere.
    #[inline]
    pub(crate) fn move_to_back(&mut self, links: &mut [Link], place: u32) {
        if self.back != place {
            self.remove(links, place);
            self.push_back(links, place);
        }
    }

    /// From front to back.
    #[cfg(test)]
    pub(crate) fn places(self, links: &[Link]) -> Vec<u32> {
        let next = |at: &u32| links.get(*at as usize).map(|link| link.behind);
        std::iter::successors(self.front(), next).take_while(|at| *at != NONE).collect()
    }

    /// Takes `place` out; does nothing for who is not listed.
    pub(crate) fn remove(&mut self, links: &mut [Link], place: u32) {
        let Some(link) = links.get_mut(place as usize) else { return };
        if !link.listed {
            return;
        }
        let Link { ahead, behind, .. } = core::mem::replace(link, Link::OUT);
        match links.get_mut(ahead as usize) {
            Some(ahead) => ahead.behind = behind,
            None => self.front = behind,
        }
        match links.get_mut(behind as usize) {
            Some(behind) => behind.ahead = ahead,
            None => self.back = ahead,
        }
    }
}
